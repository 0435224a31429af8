//! Stands in for the Gemini API with the real wire format: `generateContent`, `streamGenerateContent?alt=sse`,
//! `countTokens` and the models. It refuses what Gemini refuses, in Gemini's words.
//!
//! A prompt is answered by `echo: ` and the prompt, unless the [script] says otherwise. Its controls, which the real
//! one does not have: `POST` and `DELETE /_script`, and `GET` and `DELETE /_calls`, the bodies received.

mod failure;
mod models;
mod schema;
pub mod script;
mod stream;

use std::sync::{Arc, Mutex};

use anyhow::Result;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, Request, State, rejection::JsonRejection},
    http::StatusCode,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::lock;
use failure::Failure;
use script::{Outcome, Script};

/// Gemini accepts 20 MB.
const BODY_LIMIT: usize = 20 << 20;

/// `GEMINI_API_KEY`, the only key that it takes.
const KEY: &str = "local";

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
    /// Serves a listener, which must not block.
    pub fn start(listener: std::net::TcpListener) -> Result<Self> {
        let listener = TcpListener::from_std(listener)?;
        let url = format!("http://{}", listener.local_addr()?);
        let api = Router::new()
            .route("/v1beta/models", get(models::list))
            .route("/v1beta/models/{call}", get(models::get).post(call))
            .layer(from_fn(authenticate));
        let controls = Router::new()
            .route("/_script", post(extend_script).delete(forget_script))
            .route("/_calls", get(calls).delete(forget_calls));
        let routes = api.merge(controls).layer(DefaultBodyLimit::max(BODY_LIMIT)).with_state(Arc::<Model>::default());
        let server = tokio::spawn(async move {
            // An answer comes in pieces, which would wait for each other.
            let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
            let _ = axum::serve(listener, routes).await; // serves until it is aborted
        });
        Ok(Self { url, server })
    }
}

impl Gemini {
    /// Returns the variables that name it.
    pub fn variables(&self) -> [(String, String); 2] {
        [("GEMINI_URL", self.url.as_str()), ("GEMINI_API_KEY", KEY)]
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
    key: Option<String>,
}

/// Takes the key from its header or from the query.
async fn authenticate(Query(parameters): Query<Parameters>, request: Request, next: Next) -> Response {
    let header = request.headers().get("x-goog-api-key").map(|key| key.to_str().unwrap_or_default().to_owned());
    match header.or(parameters.key).as_deref() {
        Some(KEY) => next.run(request).await,
        None | Some("") => Failure::no_key().into_response(),
        Some(_) => Failure::wrong_key().into_response(),
    }
}

/// `POST /v1beta/models/{model}:{method}`.
async fn call(
    State(model): State<Arc<Model>>,
    Path(call): Path<String>,
    Query(parameters): Query<Parameters>,
    body: Bytes,
) -> Result<Response, Failure> {
    let (name, method) = call.split_once(':').unwrap_or((&call, ""));
    let message = match method {
        "generateContent" | "streamGenerateContent" => schema::GENERATE,
        "countTokens" => schema::COUNT,
        _ => return Err(Failure::unknown_model(name, method)),
    };
    models::check(name, method)?;
    let body: Value = serde_json::from_slice(&body)
        .map_err(|_| Failure::new(400, "Invalid JSON payload received. Unexpected token."))?;
    let read = schema::read(&body, message).map_err(|violations| Failure::violations(&violations))?;
    if method == "countTokens" {
        return count_tokens(&read).map(IntoResponse::into_response);
    }
    if method == "streamGenerateContent" && parameters.alt.as_deref() != Some("sse") {
        return Err(Failure::new(400, "The stand-in streams server-sent events only: ask with `?alt=sse`."));
    }
    lock(&model.calls).push(body);
    let prompt = prompt(&read)?;
    let outcome = lock(&model.script).next(&prompt);
    if let Some(status) = outcome.status {
        stream::wait(&outcome).await;
        return Err(Failure::scripted(status, &outcome, name));
    }
    let reply = stream::Reply::new(name, &prompt, &read, &outcome);
    if method == "generateContent" {
        stream::wait(&outcome).await;
        return reply.whole(&outcome).map(|body| Json(body).into_response());
    }
    Ok(reply.stream(outcome))
}

fn count_tokens(read: &Value) -> Result<Json<Value>, Failure> {
    let contents = read.pointer("/generate_content_request/contents").unwrap_or(&read["contents"]);
    if contents.as_array().is_none_or(Vec::is_empty) {
        return Err(Failure::new(400, "* CountTokensRequest.contents: contents is not specified"));
    }
    let tokens = stream::tokens(&contents.to_string());
    Ok(Json(json!({
        "totalTokens": tokens, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}],
    })))
}

/// Returns the text of the last turn of a body that Gemini would accept. A turn without a role is the user's.
fn prompt(read: &Value) -> Result<String, Failure> {
    let bad = |message: String| Failure::new(400, message);
    let role = |content: &Value| content["role"].as_str().unwrap_or("user").to_owned();
    let contents = read["contents"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (index, content) in contents.iter().enumerate() {
        let field = format!("* GenerateContentRequest.contents[{index}]");
        if !["user", "model"].contains(&role(content).as_str()) {
            return Err(bad(format!("{field}.role: Please use a valid role: user, model.")));
        }
        if text(content).is_empty() {
            return Err(bad(format!("{field}.parts: contents.parts must not be empty.")));
        }
    }
    match contents.last() {
        Some(last) if role(last) == "user" => Ok(text(last)),
        Some(_) => Err(bad("Please ensure that the last turn of a multiturn request is by the user.".to_owned())),
        None => Err(bad("* GenerateContentRequest.contents: contents is not specified".to_owned())),
    }
}

fn text(content: &Value) -> String {
    let parts = content["parts"].as_array().into_iter().flatten();
    parts.filter_map(|part| part["text"].as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_body_that_gemini_accepts_has_a_prompt() {
        let turn = |role: &str, text: &str| json!({"role": role, "parts": [{"text": text}]});
        let talk = json!({"contents": [turn("user", "a"), turn("model", "b"), turn("user", "c")]});
        assert_eq!(prompt(&talk).ok().as_deref(), Some("c"));
        let without_role = json!({"contents": [{"parts": [{"text": "a"}]}]});
        assert_eq!(prompt(&without_role).ok().as_deref(), Some("a"));
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
