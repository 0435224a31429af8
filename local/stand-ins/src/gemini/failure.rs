//! Makes errors in the form of Google's APIs (<https://google.aip.dev/193>), pretty-printed as Gemini sends them.

use axum::{
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::script::Outcome;

/// Why a call failed.
#[derive(Debug)]
pub(super) struct Failure {
    code: u16,
    message: String,
    details: Vec<Value>,
}

impl Failure {
    pub(super) fn new(code: u16, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Vec::new() }
    }

    fn with(mut self, kind: &str, mut detail: Value) -> Self {
        detail["@type"] = format!("type.googleapis.com/google.rpc.{kind}").into();
        self.details.push(detail);
        self
    }

    /// Refuses a key that Google does not know.
    pub(super) fn wrong_key() -> Self {
        let message = "API key not valid. Please pass a valid API key.";
        let reason = json!({
            "reason": "API_KEY_INVALID", "domain": "googleapis.com",
            "metadata": {"service": "generativelanguage.googleapis.com"},
        });
        Self::new(400, message)
            .with("ErrorInfo", reason)
            .with("LocalizedMessage", json!({"locale": "en-US", "message": message}))
    }

    /// Refuses a call without a key.
    pub(super) fn no_key() -> Self {
        let message = "Method doesn't allow unregistered callers (callers without established identity). Please use \
                       API Key or other form of API consumer identity to call this API.";
        Self::new(403, message)
    }

    /// Refuses a model that does not exist.
    pub(super) fn unknown_model(model: &str, method: &str) -> Self {
        let message = format!(
            "models/{model} is not found for API version v1beta, or is not supported for {method}. \
             Call ListModels to see the list of available models and their supported methods."
        );
        Self::new(404, message)
    }

    /// Refuses a body that the API's schema has no place for, with pairs of a field and its fault.
    pub(super) fn violations(violations: &[(String, String)]) -> Self {
        let described = violations.iter().map(|(field, description)| match field.as_str() {
            "" => json!({"description": description}),
            field => json!({"field": field, "description": description}),
        });
        let described: Vec<_> = described.collect();
        let messages: Vec<_> = violations.iter().map(|(_, description)| description.as_str()).collect();
        Self::new(400, messages.join("\n")).with("BadRequest", json!({"fieldViolations": described}))
    }

    /// Fails as the script asks, with its quota and its retry delay.
    pub(super) fn scripted(code: u16, outcome: &Outcome, model: &str) -> Self {
        let mut failure = Self::new(code, "The script says so.");
        if let Some(quota) = &outcome.quota_id {
            let violation = json!({
                "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
                "quotaId": quota, "quotaDimensions": {"location": "global", "model": model}, "quotaValue": "250",
            });
            failure = failure.with("QuotaFailure", json!({"violations": [violation]}));
        }
        match &outcome.retry_delay {
            Some(delay) => failure.with("RetryInfo", json!({"retryDelay": delay})),
            None => failure,
        }
    }

    pub(super) fn body(&self) -> Value {
        let status = match self.code {
            400 => "INVALID_ARGUMENT",
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "NOT_FOUND",
            408 | 504 => "DEADLINE_EXCEEDED",
            409 => "ABORTED",
            429 => "RESOURCE_EXHAUSTED",
            499 => "CANCELLED",
            503 => "UNAVAILABLE",
            _ => "INTERNAL",
        };
        let mut error = json!({"code": self.code, "message": self.message, "status": status});
        if !self.details.is_empty() {
            error["details"] = self.details.clone().into();
        }
        json!({ "error": error })
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let content_type = [(CONTENT_TYPE, "application/json; charset=UTF-8")];
        (status, content_type, format!("{:#}\n", self.body())).into_response()
    }
}
