//! Tests the checker of responses: each breach below differs from an allowed response in one thing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use local_suite::harness::{Response, contract::CONTRACT};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

struct Exchange {
    method: &'static str,
    path: String,
    status: u16,
    headers: HeaderMap,
    body: Value,
}

const ROOM: &str = "019b0000-0000-7000-8000-000000000002";

/// Returns a 202 of `message-send`.
fn accepted() -> Exchange {
    Exchange {
        method: "POST",
        path: format!("/chatroom/{ROOM}/message"),
        status: 202,
        headers: headers(&[
            ("content-type", "application/json"),
            ("cache-control", "no-store"),
            ("location", "message/019b0000-0000-7000-8000-000000000003"),
            ("retry-after", "1"),
        ]),
        body: json!({
            "id": "019b0000-0000-7000-8000-000000000003",
            "chatroom_id": ROOM,
            "content": "Which tram goes to Belém?",
            "status": "queued",
            "created_at": "2026-11-22T20:15:02.654321Z",
        }),
    }
}

/// Returns a 200 of `message-get`.
fn answered() -> Exchange {
    let mut response = Exchange {
        method: "GET",
        path: format!("/chatroom/{ROOM}/message/019b0000-0000-7000-8000-000000000003"),
        status: 200,
        headers: headers(&[("content-type", "application/json"), ("cache-control", "no-store")]),
        ..accepted()
    };
    response.body["status"] = json!("answered");
    response.body["reply"] = json!({
        "content": "Number 15.",
        "model": null,
        "finish_reason": "STOP",
        "created_at": "2026-11-22T20:15:03.000000Z",
    });
    response
}

/// Returns a 429 of `message-send`.
fn over_limit() -> Exchange {
    Exchange {
        status: 429,
        headers: headers(&[
            ("content-type", "application/problem+json"),
            ("cache-control", "no-store"),
            ("retry-after", "3600"),
            ("ratelimit", r#""daily-messages";r=0;t=3600"#),
            ("ratelimit-policy", r#""daily-messages";q=5;w=86400"#),
        ]),
        body: json!({
            "type": "/problems/over-limit",
            "title": "Limit reached",
            "status": 429,
            "detail": "Today's messages are used up.",
            "request_id": "1",
            "policy": "daily-messages",
        }),
        ..accepted()
    }
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let fields = fields.iter().map(|(name, value)| {
        let value = HeaderValue::from_str(value).expect("a header value");
        (HeaderName::from_static(name), value)
    });
    fields.collect()
}

fn check(exchange: &Exchange) {
    let body = &exchange.body;
    let is_stream = exchange.headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"text/event"));
    let text = match body {
        Value::Null => String::new(),
        event if is_stream => format!("id: 1\ndata: {event}\n\ndata: [DONE]\n\n"),
        body => body.to_string(),
    };
    let bytes = text.into_bytes();
    let url = "http://127.0.0.1".parse().unwrap();
    let response =
        Response { url, status: exchange.status, headers: exchange.headers.clone(), body: body.clone(), bytes };
    CONTRACT.check(exchange.method, &exchange.path, &response);
}

#[track_caller]
fn breach(expected: &str, response: &Exchange) {
    let result = catch_unwind(AssertUnwindSafe(|| check(response)));
    let panic = result.expect_err(&format!("not noticed: {expected}"));
    let message = panic.downcast_ref::<String>().expect("a message");
    assert!(message.contains(expected), "{expected:?} is not in: {message}");
}

#[track_caller]
fn breach_of(response: fn() -> Exchange, expected: &str, change: impl FnOnce(&mut Exchange)) {
    let mut response = response();
    change(&mut response);
    breach(expected, &response);
}

#[test]
fn an_allowed_response_passes() {
    check(&accepted());
    check(&answered());
    check(&over_limit());
}

#[test]
fn a_response_of_an_unknown_operation_or_status_is_a_breach() {
    breach_of(accepted, "there is no path /chat", |it| {
        it.path = "/chat".into();
    });
    breach_of(accepted, "there is no PUT /chatroom", |it| {
        it.method = "PUT";
    });
    breach_of(accepted, "the operation has no status 200", |it| {
        it.status = 200;
    });
}

#[test]
fn a_header_that_is_missing_wrong_or_not_documented_is_a_breach() {
    breach_of(accepted, "the header Location is missing", |it| {
        it.headers.remove("location");
    });
    breach_of(accepted, "Retry-After: ", |it| {
        it.headers.insert("retry-after", HeaderValue::from_static("soon"));
    });
    breach_of(accepted, "Location: ", |it| {
        it.headers.insert("location", HeaderValue::from_static("chatroom"));
    });
    breach_of(over_limit, "RateLimit: ", |it| {
        it.headers.insert("ratelimit", HeaderValue::from_static("daily-messages"));
    });
    breach_of(answered, "the header Location is not documented here", |it| {
        it.headers.insert("location", HeaderValue::from_static("chatroom"));
    });
    breach_of(answered, "the Content-Type is \"text/html\"", |it| {
        it.headers.insert("content-type", HeaderValue::from_static("text/html"));
    });
}

#[test]
fn a_body_that_its_schema_does_not_allow_is_a_breach() {
    breach_of(accepted, "/id", |it| {
        it.body["id"] = json!("0d2f6a0c-4e11-4c67-9a53-019b00000000");
    });
    breach_of(accepted, "/created_at", |it| {
        it.body["created_at"] = json!("2026-11-22T20:15:02+01:00");
    });
    breach_of(accepted, "/created_at", |it| {
        it.body["created_at"] = json!("2026-13-22T20:15:02.000000Z");
    });
    breach_of(accepted, "/created_at", |it| {
        it.body["created_at"] = json!("2026-11-22T20:15:02.5Z");
    });
    breach_of(accepted, "position", |it| it.body["position"] = json!(7));
    breach_of(accepted, "content", |it| {
        it.body.as_object_mut().expect("an object").remove("content");
    });
    breach_of(over_limit, "/status", |it| it.body["status"] = json!(422));
    breach_of(over_limit, "/type", |it| {
        it.body["type"] = json!("/problems/invalid");
    });
    breach_of(over_limit, "/policy", |it| it.body["policy"] = json!("patience"));
    breach_of(over_limit, "errors", |it| it.body["errors"] = json!([]));
}

#[test]
fn a_message_whose_status_and_outcome_disagree_is_a_breach() {
    breach_of(answered, "oneOf", |it| it.body["status"] = json!("failed"));
    breach_of(answered, "reply", |it| it.body["status"] = json!("queued"));
    breach_of(answered, "failure", |it| {
        it.body["failure"] = json!({ "reason": "SAFETY", "message": "It was declined." });
    });
}

#[test]
fn an_event_that_its_schema_does_not_allow_is_a_breach() {
    let stream = || Exchange {
        method: "GET",
        path: format!("/chatroom/{ROOM}/stream"),
        status: 200,
        headers: headers(&[
            ("content-type", "text/event-stream; charset=utf-8"),
            ("cache-control", "no-cache, no-transform"),
        ]),
        body: json!({ "type": "text-delta", "id": "reply", "delta": "Number 15." }),
    };
    check(&stream());
    breach_of(stream, "delta", |it| it.body["delta"] = json!(15));
    breach_of(stream, "type", |it| it.body["type"] = json!("text"));
    breach_of(stream, "surplus", |it| it.body["surplus"] = json!(true));
    breach_of(stream, "Cache-Control: ", |it| {
        it.headers.insert("cache-control", HeaderValue::from_static("no-cache"));
    });
}

#[test]
fn a_body_where_none_belongs_is_a_breach() {
    let done = || Exchange {
        method: "DELETE",
        path: format!("/chatroom/{ROOM}"),
        status: 204,
        headers: HeaderMap::new(),
        body: Value::Null,
    };
    check(&done());
    breach_of(done, "there must be no body", |it| it.body = json!({}));
}
