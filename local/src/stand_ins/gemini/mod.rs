//! A stand-in for Gemini with the real wire format: `POST /v1beta/models/{model}:streamGenerateContent?alt=sse`.
//!
//! A prompt is answered by `echo: ` and the prompt, unless the [script] says otherwise. Its controls, which the real
//! one does not have: `POST`, `GET` and `DELETE /_script`, and `GET` and `DELETE /_calls`, the bodies received.

pub mod script;
mod stream;

use std::sync::{Arc, Mutex};

use anyhow::Result;
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, Query, State, rejection::JsonRejection},
    http::{HeaderMap, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::machine::{lock, ports::Port};
use script::{Outcome, Script};

/// Gemini accepts 20 MB.
const BODY_LIMIT: usize = 20 << 20;

/// A running stand-in.
pub struct Gemini {
    /// `GEMINI_URL`.
    pub url: String,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Model {
    script: Mutex<Script>,
    calls: Mutex<Vec<Value>>,
}

impl Gemini {
    /// Serves on a port.
    pub fn start(port: Port) -> Result<Self> {
        let listener = TcpListener::from_std(port.listen()?)?;
        let url = format!("http://{}", listener.local_addr()?);
        let routes = Router::new()
            .route("/v1beta/models/{call}", post(generate))
            .route(
                "/_script",
                post(extend_script)
                    .get(rest_of_script)
                    .delete(forget_script),
            )
            .route("/_calls", get(calls).delete(forget_calls))
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .with_state(Arc::<Model>::default());
        let server = tokio::spawn(async move {
            // An answer comes in pieces, which would wait for each other.
            let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
            let _ = axum::serve(listener, routes).await; // serves until it is aborted
        });
        Ok(Self { url, server })
    }
}

impl Gemini {
    /// The settings that name it.
    pub fn variables(&self) -> [(String, String); 2] {
        [
            ("GEMINI_URL", self.url.as_str()),
            ("GEMINI_API_KEY", "local"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    }
}

impl Drop for Gemini {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn extend_script(
    State(model): State<Arc<Model>>,
    outcomes: Result<Json<Vec<Outcome>>, JsonRejection>,
) -> Result<StatusCode, (StatusCode, String)> {
    let bad = |reason: String| (StatusCode::BAD_REQUEST, reason);
    let Json(outcomes) = outcomes.map_err(|error| bad(error.body_text()))?;
    lock(&model.script).extend(outcomes).map_err(bad)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn rest_of_script(State(model): State<Arc<Model>>) -> Json<Vec<Outcome>> {
    Json(lock(&model.script).rest())
}

async fn forget_script(State(model): State<Arc<Model>>) -> StatusCode {
    *lock(&model.script) = Script::default();
    StatusCode::NO_CONTENT
}

async fn calls(State(model): State<Arc<Model>>) -> Json<Vec<Value>> {
    Json(lock(&model.calls).clone())
}

async fn forget_calls(State(model): State<Arc<Model>>) -> StatusCode {
    lock(&model.calls).clear();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct Parameters {
    alt: Option<String>,
}

async fn generate(
    State(model): State<Arc<Model>>,
    Path(call): Path<String>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    body: Result<Json<Value>, JsonRejection>,
) -> Response {
    let Some(name) = call.strip_suffix(":streamGenerateContent") else {
        return error(
            404,
            &format!("{call} is not found for API version v1beta."),
            None,
        );
    };
    if parameters.alt.as_deref() != Some("sse") {
        return error(400, "The stand-in only streams: ask with `?alt=sse`.", None);
    }
    if headers
        .get("x-goog-api-key")
        .is_none_or(HeaderValue::is_empty)
    {
        let message =
            "Method doesn't allow unregistered callers (callers without established identity).";
        return error(403, message, None);
    }
    let Ok(Json(body)) = body else {
        return error(400, "Invalid JSON payload received.", None);
    };
    lock(&model.calls).push(body.clone());
    let prompt = match prompt(&body) {
        Ok(prompt) => prompt,
        Err(message) => return error(400, &message, None),
    };
    let outcome = lock(&model.script).next(&prompt);
    if let Some(status) = outcome.status {
        stream::wait(&outcome).await;
        return error(
            status,
            "The script says so.",
            outcome.retry_delay.as_deref(),
        );
    }
    stream::answer(name, &prompt, &body, outcome)
}

/// The text of the last turn, in a body that Gemini would accept.
fn prompt(body: &Value) -> Result<String, String> {
    let contents = body["contents"]
        .as_array()
        .filter(|contents| !contents.is_empty());
    let contents =
        contents.ok_or("* GenerateContentRequest.contents: contents is not specified")?;
    for (index, content) in contents.iter().enumerate() {
        let field = format!("* GenerateContentRequest.contents[{index}]");
        if !content["role"]
            .as_str()
            .is_some_and(|role| ["user", "model"].contains(&role))
        {
            return Err(format!(
                "{field}.role: Please use a valid role: user, model."
            ));
        }
        if text(content).is_empty() {
            return Err(format!("{field}.parts: contents.parts must not be empty."));
        }
    }
    match contents.last() {
        Some(last) if last["role"] == "user" => Ok(text(last)),
        _ => Err("Please ensure that the last turn of a multiturn request is by the user.".into()),
    }
}

fn text(content: &Value) -> String {
    let parts = content["parts"].as_array().into_iter().flatten();
    parts.filter_map(|part| part["text"].as_str()).collect()
}

/// An error as Google's APIs say it.
fn error(code: u16, message: &str, retry_delay: Option<&str>) -> Response {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(error_body(code, message, retry_delay))).into_response()
}

fn error_body(code: u16, message: &str, retry_delay: Option<&str>) -> Value {
    let status = match code {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        408 | 504 => "DEADLINE_EXCEEDED",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    let details: Vec<_> = retry_delay
        .map(|delay| json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}))
        .into_iter()
        .collect();
    json!({"error": {"code": code, "message": message, "status": status, "details": details}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_body_that_gemini_accepts_has_a_prompt() {
        let turn = |role: &str, text: &str| json!({"role": role, "parts": [{"text": text}]});
        let talk = json!({"contents": [turn("user", "a"), turn("model", "b"), turn("user", "c")]});
        assert_eq!(prompt(&talk), Ok("c".into()));
        for wrong in [
            json!({}),
            json!({"contents": []}),
            json!({"contents": [turn("assistant", "a")]}),
            json!({"contents": [{"role": "user", "parts": []}]}),
            json!({"contents": [turn("user", "a"), turn("model", "b")]}),
        ] {
            assert!(prompt(&wrong).is_err(), "{wrong}");
        }
    }
}
