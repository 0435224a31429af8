//! Feeds random input to every parser of what clients, Stripe and the queue send: none panics, and none reports bad
//! input as a defect of this code.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

use std::{collections::HashMap, net::IpAddr};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use lambda_http::{Body, Request, RequestExt};
use proptest::{collection::vec, prelude::*};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{
    Error,
    auth::{Device, TokenVerifier, codes::Challenge, sessions::RefreshToken},
    billing::SigningSecrets,
    domain::{ChatroomId, Mobile, Name, Title},
    http::{self, TrustedProxy, cursor},
    queue::WakeUp,
};

const PROXY_SECRET: &str = "0123456789abcdef0123456789abcdef";

/// One field of every kind that requests have.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    title: Title,
    mobile: Mobile,
    name: Option<Name>,
    #[serde(default)]
    everywhere: bool,
}

fn good() -> Value {
    json!({ "title": "Trip", "mobile": "+1 (555) 010-9999", "name": "Ada", "everywhere": true })
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let name = prop_oneof![Just("title".to_owned()), Just("mobile".into()), any::<String>()];
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(name, inner, 0..6).prop_map(|members| json!(members)),
        ]
    })
}

/// Bytes at random, JSON at random, and a good body with a member or a few bytes changed.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let member = prop::sample::select(vec!["title", "mobile", "name", "everywhere", "surplus"]);
    let changed = (member, any_json()).prop_map(|(member, value)| {
        let mut body = good();
        body[member] = value;
        body.to_string().into_bytes()
    });
    let damaged = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4).prop_map(|damages| {
        let mut body = good().to_string().into_bytes();
        for (at, byte) in damages {
            let at = at.index(body.len());
            body[at] = byte;
        }
        body
    });
    let bytes = any_json().prop_map(|value| value.to_string().into_bytes());
    prop_oneof![vec(any::<u8>(), 0..200), bytes, changed, damaged]
}

/// Whether the caller is told that it is the caller's fault.
fn is_the_callers(error: &Error) -> bool {
    matches!(error, Error::Malformed(_) | Error::Invalid(_) | Error::TooLarge(_) | Error::NotJson | Error::NotFound(_))
}

fn request(body: Vec<u8>) -> Request {
    let mut request = Request::new(Body::Binary(body));
    let json = "application/json".parse().unwrap();
    request.headers_mut().insert("content-type", json);
    request
}

fn map(name: &str, value: &str) -> HashMap<String, Vec<String>> {
    HashMap::from([(name.to_owned(), vec![value.to_owned()])])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_body_is_what_it_should_be_or_the_callers_fault(body in body()) {
        match http::json::<Form>(&request(body)) {
            Ok(form) => {
                prop_assert!((1..=100).contains(&form.title.as_str().chars().count()));
                prop_assert!(!form.title.as_str().contains('\0'));
                prop_assert!(form.mobile.as_str().starts_with('+'));
                prop_assert!(form.everywhere || form.name.is_none_or(|name| !name.as_str().trim().is_empty()));
            }
            Err(error) => prop_assert!(is_the_callers(&error), "{error:?}"),
        }
    }

    #[test]
    fn a_path_query_or_header_is_read_or_the_callers_fault(
        text in any::<String>(),
        bytes in vec(any::<u8>(), 0..300),
    ) {
        let mut request = request(Vec::new());
        if let Ok(value) = lambda_http::http::HeaderValue::from_bytes(&bytes) {
            request.headers_mut().insert("x-proxy-secret", lambda_http::http::HeaderValue::from_static(PROXY_SECRET));
            let of_proxy = ["cloudfront-viewer-address", "x-forwarded-for"];
            for header in ["idempotency-key", "content-type", "authorization", "user-agent"].iter().chain(&of_proxy) {
                request.headers_mut().insert(*header, value.clone());
            }
        }
        let request = request
            .with_path_parameters(HashMap::from([("id".to_owned(), text.clone())]))
            .with_query_string_parameters(map("limit", &text));
        if let Err(error) = http::path::<ChatroomId>(&request, "id", "chatroom") {
            prop_assert!(is_the_callers(&error), "{error:?}");
        }
        match http::query(&request, "limit", 1..=100_i64, 50) {
            Ok(limit) => prop_assert!((1..=100).contains(&limit)),
            Err(error) => prop_assert!(is_the_callers(&error), "{error:?}"),
        }
        match http::idempotency_key(&request) {
            Ok(key) => prop_assert!(key.is_none_or(|key| (1..=255).contains(&key.len()))),
            Err(error) => prop_assert!(is_the_callers(&error), "{error:?}"),
        }
        if let Err(error) = http::json::<Form>(&request) {
            prop_assert!(is_the_callers(&error), "{error:?}");
        }
        let network = TrustedProxy::with(PROXY_SECRET).unwrap().client_network(&request);
        let address = network.strip_suffix("/64").unwrap_or(&network);
        prop_assert!(address.parse::<IpAddr>().is_ok() || network == "unknown", "{network}");
        let device = Device::of(&request);
        let is_short = |device: &Device| device.as_str().is_ascii() && device.as_str().len() < 64;
        prop_assert!(device.as_ref().is_none_or(is_short), "{device:?}");
    }

    #[test]
    fn a_cursor_that_no_list_gave_is_the_callers_fault(cursor in "[A-Za-z0-9_=-]{0,80}|\\PC{0,40}") {
        let request = request(Vec::new()).with_query_string_parameters(map("cursor", &cursor));
        let read = cursor::read::<(i64, String)>(&request, "rooms");
        prop_assert!(matches!(read, Err(Error::Malformed(_))), "{read:?}");
    }

    /// Its checksum is no secret, so a client may send any position.
    #[test]
    fn a_forged_cursor_is_a_position_or_the_callers_fault(position in any_json(), list in "rooms|\\PC{0,9}") {
        let cursor = cursor::write(&position, &list).unwrap();
        let request = request(Vec::new()).with_query_string_parameters(map("cursor", &cursor));
        let expected: Option<(i64, String)> = serde_json::from_value(position).ok();
        match cursor::read::<(i64, String)>(&request, &list) {
            Ok(read) => prop_assert_eq!(read, expected),
            Err(error) => prop_assert!(expected.is_none() && is_the_callers(&error), "{:?}", error),
        }
    }

    #[test]
    fn a_token_that_nobody_issued_is_refused(
        text in "(Bearer )?[A-Za-z0-9_.-]{0,200}|\\PC{0,60}",
        parts in vec(any_json(), 3),
    ) {
        let verifier = TokenVerifier::from_env().unwrap();
        let parts = parts.iter().map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
        let looks_right = format!("Bearer {}", parts.collect::<Vec<_>>().join("."));
        for text in [text, looks_right] {
            let Ok(value) = lambda_http::http::HeaderValue::from_str(&text) else { continue };
            let mut request = request(Vec::new());
            request.headers_mut().insert("authorization", value);
            let refused = verifier.authenticate(&request);
            prop_assert!(matches!(refused, Err(Error::Unauthenticated(_))), "{text}: {refused:?}");
        }
    }

    #[test]
    fn a_refresh_token_or_challenge_is_read_as_it_was_written_or_not_at_all(
        text in "[A-Za-z0-9_=-]{0,90}|\\PC{0,40}",
        bytes in vec(any::<u8>(), 0..64),
    ) {
        for text in [text, BASE64_URL_SAFE_NO_PAD.encode(&bytes)] {
            if let Some((user, token)) = RefreshToken::parse(&text) {
                prop_assert_eq!(token.text(user), text.clone());
            }
            let challenge = serde_json::from_value::<Challenge>(Value::from(text.clone()));
            prop_assert_eq!(challenge.is_ok(), BASE64_URL_SAFE_NO_PAD.decode(&text).is_ok_and(|it| it.len() == 16));
        }
    }

    #[test]
    fn a_header_that_stripe_did_not_sign_is_refused(
        header in "(t|v1|v0| |=|,|-|[0-9]{1,20}|[0-9a-f]{64}|\\PC){0,30}",
        body in vec(any::<u8>(), 0..100),
    ) {
        let secrets = SigningSecrets::from_env().unwrap();
        prop_assert!(secrets.verify(&header, &body).is_err());
        let dated = format!("t={},{header}", time::OffsetDateTime::now_utc().unix_timestamp());
        prop_assert!(secrets.verify(&dated, &body).is_err());
    }

    #[test]
    fn a_queue_message_is_a_wake_up_or_is_refused(body in body(), value in any_json()) {
        let _ = serde_json::from_slice::<WakeUp>(&body);
        let named = json!({ "user_id": value, "chatroom_id": value }).to_string();
        if let Ok(wake_up) = serde_json::from_str::<WakeUp>(&named) {
            let text = value.as_str().unwrap();
            prop_assert_eq!(Some(wake_up.chatroom_id), text.parse().ok());
            prop_assert_eq!(Some(wake_up.user_id), text.parse().ok());
        }
    }
}
