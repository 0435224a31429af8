//! Signs by Stripe's published scheme, independently of the code under test
//! (<https://docs.stripe.com/webhooks#verify-manually>).

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use local_suite::harness::{Response, Stack};
use reqwest::Method;
use sha2::Sha256;

use crate::stacks::SECRETS;

use super::now;

/// Computes the hexadecimal HMAC-SHA-256 of the time, a full stop and the body.
pub fn sign(secret: &str, time: u64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{time}.").as_bytes());
    mac.update(body);
    let tag = mac.finalize().into_bytes();
    tag.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

pub fn header(secret: &str, body: &[u8]) -> String {
    let time = now();
    format!("t={time},v1={}", sign(secret, time, body))
}

/// Delivers a body to the webhook, with a header or without.
pub async fn deliver(stack: &Stack, header: Option<&str>, body: &[u8]) -> Response {
    let request = stack.request(Method::POST, "/webhook/stripe");
    let request = request.header("content-type", "application/json; charset=utf-8");
    let request = match header {
        Some(header) => request.header("stripe-signature", header),
        None => request,
    };
    stack.send(request.body(body.to_vec())).await
}

/// Delivers an event that is signed well, and expects a status.
pub async fn deliver_signed(stack: &Stack, body: &str, expected: u16) {
    let header = header(SECRETS[0], body.as_bytes());
    let response = deliver(stack, Some(&header), body.as_bytes()).await;
    assert_eq!(response.status, expected, "{}", response.body);
}
