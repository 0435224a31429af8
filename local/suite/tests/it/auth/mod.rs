//! Who gets in: codes, passwords, sessions and access tokens.

mod codes;
mod limits;
mod passwords;
mod sessions;
mod tokens;

use local_suite::harness::{Stack, sample};
use serde_json::{Value, json};

pub use sessions::another_session;

/// The status and the body of a function's response to a client at an address, which only an event can make up.
async fn invoke_from(stack: &Stack, function: &str, address: &str, body: &Value) -> (u64, Value) {
    let mut event = sample(function);
    event["requestContext"]["http"]["sourceIp"] = json!(address);
    event["body"] = body.to_string().into();
    let response = stack.system.invoke(function, &event).await.unwrap();
    let body = response["body"].as_str().unwrap_or_default();
    let body = serde_json::from_str(body).unwrap_or_default();
    (response["statusCode"].as_u64().unwrap(), body)
}
