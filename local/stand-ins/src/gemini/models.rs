//! Lists the models that the stand-in knows: `GET /v1beta/models` and `GET /v1beta/models/{model}`.

use axum::{
    Json,
    extract::{Path, Query},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::Failure;

/// Names of real models: the default one, and others that a setting may name.
const MODELS: [&str; 5] =
    ["gemini-3.8-flash", "gemini-3.7-flash", "gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite"];

/// Refuses a model that is not known.
pub(super) fn check(model: &str, method: &str) -> Result<(), Failure> {
    if MODELS.contains(&model) { Ok(()) } else { Err(Failure::unknown_model(model, method)) }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    page_size: Option<usize>,
    page_token: Option<String>,
}

/// `GET /v1beta/models`, in pages. A token is the number of models before it.
pub(super) async fn list(Query(page): Query<Page>) -> Result<Json<Value>, Failure> {
    let start = match page.page_token.as_deref() {
        None | Some("") => 0,
        Some(token) => token
            .parse()
            .ok()
            .filter(|start| *start < MODELS.len())
            .ok_or_else(|| Failure::new(400, "The page token is invalid."))?,
    };
    let size = page.page_size.filter(|size| *size > 0).unwrap_or(50);
    let models: Vec<_> = MODELS.iter().skip(start).take(size).map(|name| model(name)).collect();
    let next = start + models.len();
    let mut body = json!({ "models": models });
    if next < MODELS.len() {
        body["nextPageToken"] = next.to_string().into();
    }
    Ok(Json(body))
}

/// `GET /v1beta/models/{model}`.
pub(super) async fn get(Path(name): Path<String>) -> Result<Json<Value>, Failure> {
    check(&name, "getModel")?;
    Ok(Json(model(&name)))
}

fn model(name: &str) -> Value {
    json!({
        "name": format!("models/{name}"), "version": "001", "displayName": name, "description": "A stand-in.",
        "inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
        "temperature": 1, "topP": 0.95, "topK": 64, "maxTemperature": 2, "thinking": true,
    })
}
