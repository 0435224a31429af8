//! The sample events, sent to their functions past the gateway, as `cargo lambda invoke` does.

use std::{fs, path::Path};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::stack::{Endpoint, Stack, run, text};

fn sample(function: &str) -> Value {
    let events = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("events");
    let event = fs::read(events.join(format!("{function}.json"))).unwrap();
    serde_json::from_slice(&event).unwrap()
}

/// The status of the answer to an event; the answer is what the contract allows.
async fn status(stack: &Stack, endpoint: &Endpoint, event: &Value) -> u16 {
    let answer = stack.system.invoke(endpoint.function, event).await.unwrap();
    let status = answer["statusCode"].as_u64().unwrap().try_into().unwrap();
    let headers = answer["headers"].as_object().unwrap().iter();
    let headers: HeaderMap = headers
        .map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(&text(value)).unwrap())
        })
        .collect();
    let body = answer["body"].as_str().unwrap_or_default().as_bytes();
    stack.contract.check(
        endpoint.method.as_str(),
        &endpoint.path,
        status,
        &headers,
        body,
    );
    status
}

#[test]
fn a_sample_is_answered_as_documented_with_its_placeholder_and_with_a_real_token() {
    run(async |stack| {
        for endpoint in stack.endpoints() {
            let user = stack.new_user().await;
            let mut event = sample(endpoint.function);
            let first = status(stack, &endpoint, &event).await;
            assert_eq!(
                first == 401,
                endpoint.needs_token || SPENT.contains(&endpoint.function)
            );

            if endpoint.needs_token {
                event["headers"]["authorization"] = json!(format!("Bearer {}", user.token));
                if let Some(id) = event["pathParameters"].get_mut("id") {
                    *id = json!(user.room);
                }
                let second = status(stack, &endpoint, &event).await;
                let is_gone = ["message-get", "subscription-portal"].contains(&endpoint.function);
                assert_eq!(second == 404, is_gone, "{}: {second}", endpoint.function);
                assert!(is_gone || second < 300, "{}: {second}", endpoint.function);
            }
        }
    });
}

/// Their codes, passwords and tokens are made up.
const SPENT: [&str; 4] = [
    "auth-login",
    "auth-refresh",
    "auth-reset-password",
    "auth-verify-otp",
];

#[test]
fn a_sample_without_a_route_is_understood() {
    run(async |stack| {
        // How many were woken or looked at depends on what the other tests are doing.
        for (function, member, expected) in [
            ("message-answer", "batchItemFailures", json!([])),
            ("subscription-sync", "failed", json!(0)),
        ] {
            let answer = stack.system.invoke(function, &sample(function)).await;
            assert_eq!(answer.unwrap()[member], expected, "{function}");
        }
        let answer = stack
            .system
            .invoke("message-sweep", &sample("message-sweep"))
            .await;
        assert!(answer.unwrap()["woken"].is_u64());
    });
}
