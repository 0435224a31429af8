//! Answers that succeed.

use std::time::Duration;

use lambda_http::{
    Body, Response,
    http::{StatusCode, header, response::Builder},
};
use serde::Serialize;

use crate::{Error, Result};

/// 200 with a JSON body.
///
/// # Errors
/// When the body cannot be serialised, which is a defect.
pub fn ok(body: &impl Serialize) -> Result<Response<Body>> {
    json(Response::builder(), body)
}

/// 201 with the address of what was made.
///
/// # Errors
/// When the body cannot be serialised, which is a defect.
pub fn created(location: &str, body: &impl Serialize) -> Result<Response<Body>> {
    let builder = Response::builder()
        .status(StatusCode::CREATED)
        .header(header::LOCATION, location);
    json(builder, body)
}

/// 202: it is durably accepted. When the result has an address, the answer says where and how soon to look.
///
/// # Errors
/// When the body cannot be serialised, which is a defect.
pub fn accepted(
    follow_up: Option<(&str, Duration)>,
    body: &impl Serialize,
) -> Result<Response<Body>> {
    let mut builder = Response::builder().status(StatusCode::ACCEPTED);
    if let Some((location, retry_after)) = follow_up {
        builder = builder
            .header(header::LOCATION, location)
            .header(header::RETRY_AFTER, retry_after.as_secs());
    }
    json(builder, body)
}

/// 204.
///
/// # Errors
/// Never in practice.
pub fn no_content() -> Result<Response<Body>> {
    Response::builder()
        .status(StatusCode::NO_CONTENT)
        .body(Body::Empty)
        .map_err(Error::internal)
}

/// Everything here belongs to one user, so nothing on the way may keep it.
fn json(builder: Builder, body: &impl Serialize) -> Result<Response<Body>> {
    let text = serde_json::to_string(body).map_err(Error::internal)?;
    builder
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CACHE_CONTROL, "no-store")
        .body(Body::Text(text))
        .map_err(Error::internal)
}
