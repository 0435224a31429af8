//! Makes errors in Stripe's form (<https://docs.stripe.com/api/errors>).

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// Why a call failed.
#[derive(Debug)]
pub struct Failure {
    /// The HTTP status.
    pub status: u16,
    kind: &'static str,
    code: Option<&'static str>,
    message: String,
    /// The parameter that is wrong.
    pub param: Option<String>,
}

impl Failure {
    /// Makes any failure.
    pub fn new(status: u16, kind: &'static str, message: &str) -> Self {
        Self { status, kind, code: None, message: message.to_owned(), param: None }
    }

    /// Refuses a parameter.
    pub fn invalid(param: &str, message: &str) -> Self {
        let failure = Self::new(400, "invalid_request_error", message);
        Self { param: Some(param.to_owned()), ..failure }
    }

    /// Reports a missing object. Named by a parameter it is 400, by the path 404.
    pub fn missing(object: &str, id: &str, param: &str) -> Self {
        let noun = match object {
            "checkout.session" => "checkout.session",
            "billing_portal.session" => "billing portal session",
            other => other,
        };
        let failure = Self::invalid(param, &format!("No such {noun}: '{id}'")).code("resource_missing");
        Self { status: if param == "id" { 404 } else { 400 }, ..failure }
    }

    /// Adds Stripe's code for it.
    pub fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// Makes the response's body.
    pub fn body(&self) -> Value {
        let mut error = json!({"message": self.message, "type": self.kind});
        if let Some(code) = self.code {
            error["code"] = code.into();
            error["doc_url"] = format!("https://stripe.com/docs/error-codes/{}", code.replace('_', "-")).into();
        }
        if let Some(param) = &self.param {
            error["param"] = param.as_str().into();
        }
        json!({ "error": error })
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.body())).into_response()
    }
}
