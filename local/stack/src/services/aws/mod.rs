//! Calls AWS: MiniStack, or the endpoint that `AWS_ENDPOINT_URL` names. It sends plain JSON requests: the SDKs take
//! longer to compile than everything else here together.

mod call;
mod ministack;
mod queues;
mod secrets;
mod signature;
mod tables;

use std::env;

use anyhow::Result;
use reqwest::Client;

use crate::machine::http;

pub use ministack::{MiniStack, Strictness};
pub use queues::{Message, VISIBILITY_TIMEOUT};

/// An endpoint with credentials, and a client for it.
#[derive(Clone)]
pub struct Aws {
    /// `AWS_ENDPOINT_URL`.
    pub endpoint: String,
    /// `AWS_REGION`.
    pub region: String,
    key: String,
    secret: String,
    token: Option<String>,
    client: Client,
}

impl Aws {
    /// Reaches the services at `endpoint`, with region and credentials of the environment or made-up ones.
    pub fn at(endpoint: String) -> Result<Self> {
        let variable = |name, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
        Ok(Self {
            endpoint,
            region: variable("AWS_REGION", "us-east-1"),
            key: variable("AWS_ACCESS_KEY_ID", "test"),
            secret: variable("AWS_SECRET_ACCESS_KEY", "test"),
            token: env::var("AWS_SESSION_TOKEN").ok(),
            client: http::client()?,
        })
    }

    /// Returns the variables that Lambda would set.
    pub fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_REGION", self.region.clone()),
            ("AWS_ACCESS_KEY_ID", self.key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secret.clone()),
        ]
    }
}
