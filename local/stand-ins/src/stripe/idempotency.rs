//! Keeps idempotency keys (<https://docs.stripe.com/api/idempotent_requests>): repeats the first response, errors of a call
//! that began included, and refuses other parameters and a key that another call is using.

use std::collections::HashMap;

use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::{failure::Failure, respond};

/// The keys that were used.
#[derive(Default)]
pub struct Keys(HashMap<String, Kept>);

/// The state of a key.
struct Kept {
    request: (String, Vec<(String, String)>),
    answer: Option<(u16, Value)>,
}

/// How to serve a call that carries a key.
pub enum Before {
    /// Serve it, and then keep the response.
    New,
    /// Respond with this: the call was served before, or is refused.
    Answered(Box<Response>),
}

impl Keys {
    /// Looks a key up, and takes it for a call that is new.
    pub fn take(&mut self, key: &str, path: &str, fingerprint: Vec<(String, String)>) -> Before {
        let request = (path.to_owned(), fingerprint);
        let Some(kept) = self.0.get(key) else {
            self.0.insert(key.to_owned(), Kept { request, answer: None });
            return Before::New;
        };
        let answer = if kept.request != request {
            let message = format!(
                "Keys for idempotent requests can only be used with the same parameters they were first used with. \
                 Try using a key other than '{key}' if you meant to execute a different request."
            );
            Failure::new(400, "idempotency_error", &message).into_response()
        } else if let Some((status, body)) = &kept.answer {
            let mut repeated = respond(*status, body.clone());
            repeated.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
            repeated
        } else {
            let message = format!(
                "There is currently another in-progress request using this Idempotent Key: {key}. \
                 Please try again later."
            );
            Failure::new(409, "idempotency_error", &message).code("idempotency_key_in_use").into_response()
        };
        Before::Answered(Box::new(answer))
    }

    /// Keeps a response, unless the call never began because it was not valid.
    pub fn keep(&mut self, key: &str, status: u16, body: &Value) {
        if matches!(status, 400..500) {
            self.0.remove(key);
        } else if let Some(kept) = self.0.get_mut(key) {
            kept.answer = Some((status, body.clone()));
        }
    }
}
