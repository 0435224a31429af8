//! Sends the sample events to their functions past the gateway, as `cargo lambda invoke` does.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use local_suite::harness::{Response, Stack, contract::check, sample, text};

use super::{Endpoint, Sender};

on_every_kind!(
    a_sample_is_answered_as_documented_with_its_placeholder_and_with_a_real_token,
    a_sample_without_a_route_is_understood,
);

/// Sends an event, holds the response to the contract, and returns its status.
async fn status(sender: &Sender<'_>, endpoint: &Endpoint, event: &Value) -> u16 {
    let response = sender.stack.system.invoke(endpoint.function, event).await.unwrap();
    let status = response["statusCode"].as_u64().unwrap().try_into().unwrap();
    let headers = response["headers"].as_object().unwrap().iter();
    let headers: HeaderMap = headers
        .map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(text(value)).unwrap())
        })
        .collect();
    let body = response["body"].as_str().unwrap_or_default().as_bytes();
    let url = "http://127.0.0.1".parse().unwrap();
    let response = Response { url, status, headers, body: Value::Null, bytes: body.into() };
    check(&endpoint.method, &endpoint.path, &response);
    status
}

pub async fn a_sample_is_answered_as_documented_with_its_placeholder_and_with_a_real_token(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    // A streamed response comes in another form by the Invoke API.
    let endpoints = sender.endpoints().into_iter();
    for endpoint in endpoints.filter(|endpoint| endpoint.function != "message-stream") {
        let user = Sender::new(sender.stack).await;
        let mut event = sample(endpoint.function);
        event["requestContext"]["http"]["method"] = json!(endpoint.method.as_str()); // one has two of them
        let first = status(sender, &endpoint, &event).await;
        assert_eq!(first == 401, endpoint.needs_token || SPENT.contains(&endpoint.function));

        if endpoint.needs_token {
            if PROVED.contains(&endpoint.function) {
                user.user.set_password().await;
            }
            event["headers"]["authorization"] = json!(format!("Bearer {}", user.user.token));
            if let Some(id) = event["pathParameters"].get_mut("id") {
                *id = json!(crate::stops::id(&user.room));
            }
            let second = status(sender, &endpoint, &event).await;
            let gone = ["message-get", "message-stop", "session-delete", "subscription-portal"];
            let is_gone = gone.contains(&endpoint.function);
            assert_eq!(second == 404, is_gone, "{}: {second}", endpoint.function);
            assert!(is_gone || second < 300, "{}: {second}", endpoint.function);
        }
    }
}

/// Their samples have the password that users set here.
const PROVED: [&str; 2] = ["auth-change-password", "user-delete"];

/// Their codes, passwords and tokens are made up.
const SPENT: [&str; 4] = ["auth-login", "auth-refresh", "auth-reset-password", "auth-verify-otp"];

pub async fn a_sample_without_a_route_is_understood(stack: &Stack) {
    // How many were woken or looked at depends on what the other tests are doing.
    for (function, member, expected) in
        [("message-answer", "batchItemFailures", json!([])), ("subscription-sync", "failed", json!(0))]
    {
        let response = stack.system.invoke(function, &sample(function)).await;
        assert_eq!(response.unwrap()[member], expected, "{function}");
    }
    let response = stack.system.invoke("message-sweep", &sample("message-sweep")).await;
    assert!(response.unwrap()["woken"].is_u64());
}
