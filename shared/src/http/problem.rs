//! Writes errors as `application/problem+json` (RFC 9457). The only table of statuses and problem types stands here.

use std::time::Duration;

use lambda_http::{
    Body, Response,
    http::{StatusCode, header, response::Builder},
};
use serde::Serialize;

use crate::error::{Error, InvalidField};

/// Tells the client when to retry a request that met an unavailable dependency.
const RETRY_UNAVAILABLE: Duration = Duration::from_secs(2);

#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<&'a [InvalidField]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    portal_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'static str>,
}

/// Looks up an error's status, type and title. The type is a relative reference that never changes.
fn classify(error: &Error) -> (StatusCode, &'static str, &'static str) {
    match error {
        Error::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed", "Malformed request"),
        Error::Unauthenticated(_) | Error::AccountGone | Error::SessionEnded => {
            (StatusCode::UNAUTHORIZED, "unauthenticated", "Not signed in")
        }
        Error::SignInAgain => (StatusCode::FORBIDDEN, "sign-in-again", "Proof needed"),
        Error::WrongCode => (StatusCode::UNAUTHORIZED, "wrong-code", "Wrong code"),
        Error::WrongPassword => (StatusCode::UNAUTHORIZED, "wrong-password", "Wrong password"),
        Error::NotFound(_) => (StatusCode::NOT_FOUND, "not-found", "Not found"),
        Error::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Request too large"),
        Error::NotJson | Error::Encoded => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", "Unsupported media type"),
        Error::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Invalid request"),
        Error::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", "Idempotency-Key reused"),
        Error::AlreadySubscribed { .. } => (StatusCode::CONFLICT, "already-subscribed", "Already subscribed"),
        Error::OverLimit(_) => (StatusCode::TOO_MANY_REQUESTS, "over-limit", "Limit reached"),
        Error::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable"),
        Error::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
    }
}

/// Names the kind of an error, as the type of its problem document does.
pub(super) fn kind(error: &Error) -> &'static str {
    classify(error).1
}

/// Writes the response for an error, with the headers that its status requires.
///
/// # Errors
/// Never in practice: every part is ours.
pub fn response(error: &Error, request_id: &str) -> Result<Response<Body>, lambda_http::Error> {
    let (status, kind, title) = classify(error);
    let problem = Problem {
        r#type: format!("/problems/{kind}"),
        title,
        status: status.as_u16(),
        detail: error.to_string(),
        request_id,
        errors: match error {
            Error::Invalid(fields) => Some(fields),
            _ => None,
        },
        portal_url: match error {
            Error::AlreadySubscribed { portal_url } => Some(portal_url),
            _ => None,
        },
        policy: match error {
            Error::OverLimit(over) => Some(over.policy),
            _ => None,
        },
    };
    let builder = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/problem+json")
        .header(header::CACHE_CONTROL, "no-store");
    Ok(headers(builder, error).body(Body::Text(serde_json::to_string(&problem)?))?)
}

fn headers(builder: Builder, error: &Error) -> Builder {
    match error {
        Error::Unauthenticated(_)
        | Error::AccountGone
        | Error::SessionEnded
        | Error::WrongCode
        | Error::WrongPassword => builder.header(header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\""),
        // The fields of draft-ietf-httpapi-ratelimit-headers.
        Error::OverLimit(over) => {
            let seconds = whole_seconds(over.retry_after).max(1);
            builder
                .header(header::RETRY_AFTER, seconds)
                .header("RateLimit", format!("\"{}\";r=0;t={seconds}", over.policy))
                .header("RateLimit-Policy", format!("\"{}\";q={};w={}", over.policy, over.limit, over.window.as_secs()))
        }
        Error::Encoded => builder.header(header::ACCEPT_ENCODING, "identity"),
        Error::Unavailable(_) => builder.header(header::RETRY_AFTER, RETRY_UNAVAILABLE.as_secs()),
        _ => builder,
    }
}

/// Rounds up, so that whoever waits this long does not come too early.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    //! What a client that obeys a 429 is told.

    use serde_json::Value;

    use super::*;
    use crate::error::OverLimit;

    fn over_limit(retry_after: Duration) -> Response<Body> {
        let window = Duration::from_hours(1);
        let over = OverLimit { policy: "chatrooms", detail: "Too many.", limit: 7, window, retry_after };
        response(&Error::OverLimit(over), "request").unwrap()
    }

    #[test]
    fn a_time_to_wait_is_rounded_up_and_never_nought() {
        for (millis, expected) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (86_399_999, "86400")] {
            let response = over_limit(Duration::from_millis(millis));
            assert_eq!(response.headers()["retry-after"], expected, "{millis} ms");
            let rate_limit = format!("\"chatrooms\";r=0;t={expected}");
            assert_eq!(response.headers()["ratelimit"], rate_limit);
        }
    }

    #[test]
    fn a_limit_has_one_name_in_the_body_and_in_the_header() {
        let response = over_limit(Duration::from_secs(1));
        assert_eq!(response.headers()["ratelimit-policy"], "\"chatrooms\";q=7;w=3600");
        let Body::Text(text) = response.into_body() else { panic!("no text") };
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(problem["policy"], "chatrooms");
    }
}
