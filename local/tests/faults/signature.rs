//! Signatures by Stripe's published scheme, made here and not by anything that is tested
//! (<https://docs.stripe.com/webhooks#verify-manually>).

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use local::harness::contract::Answer;
use sha2::Sha256;

use crate::payments::{SECRETS, Stack, now};

/// The hexadecimal HMAC-SHA-256 of the time, a full stop and the body.
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

impl Stack {
    /// What the webhook answers to a body, with a header or without.
    pub async fn deliver(&self, header: Option<&str>, body: &[u8]) -> Answer {
        let request = self
            .system
            .client()
            .post(self.system.url("/webhook/stripe"));
        let request = request.header("content-type", "application/json; charset=utf-8");
        let request = match header {
            Some(header) => request.header("stripe-signature", header),
            None => request,
        };
        self.contract
            .send(request.body(body.to_vec()))
            .await
            .unwrap()
    }

    /// Delivers an event that is signed well, and expects a status.
    pub async fn deliver_signed(&self, body: &str, expected: u16) {
        let header = header(SECRETS[0], body.as_bytes());
        let answer = self.deliver(Some(&header), body.as_bytes()).await;
        assert_eq!(answer.status, expected, "{}", answer.body);
    }
}
