//! Writes the responses of requests that succeed.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use lambda_http::{
    Body, Request, Response,
    http::{HeaderValue, StatusCode, header, response::Builder},
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// Writes 200 with a JSON body.
///
/// # Errors
/// When the body cannot be serialised, which is a defect.
pub fn ok(body: &impl Serialize) -> Result<Response<Body>> {
    json(Response::builder(), body)
}

/// Limits the characters of `If-None-Match`: an `ETag` of ours has 24.
const MAX_IF_NONE_MATCH: usize = 1_000;

/// Writes 200 with a JSON body and its `ETag`, or 304 when the caller's `If-None-Match` names it.
///
/// # Errors
/// [`Error::Malformed`] when that header is longer than 1 000 characters, and when the body cannot be serialised, which
/// is a defect.
pub fn ok_unless_known(request: &Request, body: &impl Serialize) -> Result<Response<Body>> {
    let known = request.headers().get_all(header::IF_NONE_MATCH);
    if known.iter().map(HeaderValue::len).sum::<usize>() > MAX_IF_NONE_MATCH {
        let detail = format!("The If-None-Match header is longer than {MAX_IF_NONE_MATCH} characters.");
        return Err(Error::Malformed(detail));
    }
    let text = serde_json::to_string(body).map_err(Error::internal)?;
    let hash = BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(&text)[..16]);
    let etag = format!("\"{hash}\"");
    let known = known
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == etag || tag == "*");
    let builder = Response::builder().header(header::ETAG, etag).header(header::CACHE_CONTROL, "private, no-cache");
    let response = if known {
        builder.status(StatusCode::NOT_MODIFIED).body(Body::Empty)
    } else {
        builder.header(header::CONTENT_TYPE, "application/json").body(Body::Text(text))
    };
    response.map_err(Error::internal)
}

/// Writes 201 with the created resource and its address, relative to the request's: a function does not know under
/// which path of a custom domain it is reached (RFC 9110, section 10.2.2).
///
/// # Errors
/// When the body cannot be serialised, which is a defect.
pub fn created(location: &str, body: &impl Serialize) -> Result<Response<Body>> {
    let builder = Response::builder().status(StatusCode::CREATED).header(header::LOCATION, location);
    json(builder, body)
}

/// Writes 202: the request is durably accepted. A `follow_up` adds the result's address, relative as in [`created`],
/// and the time to wait for it.
///
/// # Errors
/// When the body cannot be serialised, which is a defect.
pub fn accepted(follow_up: Option<(&str, Duration)>, body: &impl Serialize) -> Result<Response<Body>> {
    let mut builder = Response::builder().status(StatusCode::ACCEPTED);
    if let Some((location, retry_after)) = follow_up {
        builder = builder.header(header::LOCATION, location).header(header::RETRY_AFTER, retry_after.as_secs());
    }
    json(builder, body)
}

/// Writes 204.
///
/// # Errors
/// Never in practice.
pub fn no_content() -> Result<Response<Body>> {
    Response::builder().status(StatusCode::NO_CONTENT).body(Body::Empty).map_err(Error::internal)
}

/// Writes a JSON body that no cache may store, since it belongs to one user.
fn json(builder: Builder, body: &impl Serialize) -> Result<Response<Body>> {
    let text = serde_json::to_string(body).map_err(Error::internal)?;
    builder
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CACHE_CONTROL, "no-store")
        .body(Body::Text(text))
        .map_err(Error::internal)
}
