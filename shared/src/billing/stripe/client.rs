//! Sends requests to Stripe through the HTTP client that every adapter uses. `async-stripe`'s own client would bring
//! HTTP/2 into every function, and opens a connection for each request.

use std::{fmt::Display, time::Duration};

use ::stripe::CustomizedStripeRequest;
use bytes::Bytes;
use miniserde::json::from_str;
use reqwest::{
    Client, RequestBuilder, Response,
    header::{CONTENT_TYPE, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use stripe_client_core::{StripeClient, StripeClientErr, StripeMethod};
use stripe_shared::version::VERSION;

use tokio::time::sleep;
use tracing::warn;

use super::responses::{ApiError, Refusal};
use crate::{error::Source, telemetry::Chain, tls};

/// How long a request waits before its retry.
const REPEAT_AFTER: Duration = Duration::from_millis(200);

const USER_AGENT: &str = concat!("chat-backend/", env!("CARGO_PKG_VERSION"));

/// Sends HTTP requests to Stripe's API for the account that a key belongs to.
pub(super) struct Http {
    client: Client,
    url: String,
    key: HeaderValue,
    timeout: Duration,
}

impl Http {
    /// Configures a client whose requests take no longer than `timeout`, their retry included. Nothing is opened yet.
    ///
    /// # Errors
    /// When the key cannot be in a header.
    pub fn new(url: &str, key: &SecretString, timeout: Duration) -> Result<Self, Failure> {
        let key = format!("Bearer {}", key.expose_secret());
        let mut key = HeaderValue::from_str(&key).map_err(misconfigured)?;
        key.set_sensitive(true);
        let client = tls::http().map_err(misconfigured)?.user_agent(USER_AGENT).build().map_err(misconfigured)?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned(), key, timeout })
    }

    fn request(&self, request: stripe_client_core::RequestBuilder) -> RequestBuilder {
        let mut url = format!("{}/v1{}", self.url, request.path);
        if let Some(query) = request.query {
            url = format!("{url}?{query}");
        }
        let builder = match request.method {
            StripeMethod::Get => self.client.get(url),
            StripeMethod::Post => self.client.post(url),
            StripeMethod::Delete => self.client.delete(url),
        };
        let builder = builder.header("authorization", self.key.clone()).header("stripe-version", VERSION.as_str());
        match request.body {
            Some(form) => builder.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form),
            None => builder,
        }
    }
}

impl StripeClient for Http {
    type Err = Failure;

    /// Sends a request, and retries it once where that is safe and may help. A read is always safe, a write only with
    /// an idempotency key. The caller decides about other failures.
    async fn execute(&self, request: CustomizedStripeRequest) -> Result<Bytes, Failure> {
        let (request, custom) = request.into_pieces();
        let reads = matches!(request.method, StripeMethod::Get);
        let mut request = self.request(request);
        let key = custom.request_strategy.and_then(|once| once.get_key());
        if let Some(key) = &key {
            request = request.header("idempotency-key", key.as_str());
        }
        if !reads && key.is_none() {
            return read(request.timeout(self.timeout).send().await).await;
        }
        let first = request.timeout(self.timeout / 2);
        let Some(second) = first.try_clone() else {
            return read(first.send().await).await;
        };
        match read(first.send().await).await {
            Err(failure) if may_pass(&failure, reads) => {
                warn!(error = %Chain(&failure), "asking Stripe once more");
                sleep(REPEAT_AFTER).await;
                read(second.send().await).await
            }
            outcome => outcome,
        }
    }
}

/// Returns whether a retry may succeed. A write to which Stripe responded with an error is not retried: Stripe has
/// stored the error under the idempotency key and returns it again (<https://docs.stripe.com/api/idempotent_requests>).
fn may_pass(failure: &Failure, reads: bool) -> bool {
    match failure {
        Failure::NoResponse(_) => true,
        Failure::Refused(_, 409 | 500..) | Failure::Unreadable(_) => reads,
        Failure::Refused(..) | Failure::Misconfigured(_) => false,
    }
}

/// Says why a request failed. `async-stripe`'s own error would bring every object that an error can be about, and the
/// code that parses them.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Stripe responded with this error and status.
    #[error("Stripe responded with status {1}: {0}")]
    Refused(ApiError, u16),
    /// There was no response, or not in time.
    #[error("Stripe did not respond")]
    NoResponse(#[source] reqwest::Error),
    /// The response cannot be read.
    #[error("Stripe's response cannot be read: {0}")]
    Unreadable(String),
    /// The request cannot be built, so it was not sent.
    #[error("the request to Stripe cannot be made")]
    Misconfigured(#[source] Source),
}

impl StripeClientErr for Failure {
    fn deserialize_err(message: impl Display) -> Self {
        Self::Unreadable(message.to_string())
    }
}

async fn read(response: reqwest::Result<Response>) -> Result<Bytes, Failure> {
    let response = response.map_err(no_response)?;
    let status = response.status();
    let body = response.bytes().await.map_err(no_response)?;
    if status.is_success() {
        return Ok(body);
    }
    let text = std::str::from_utf8(&body).map_err(Failure::deserialize_err)?;
    let refusal: Refusal = from_str(text).map_err(|_| Failure::Unreadable(format!("an error with {status}")))?;
    Err(Failure::Refused(refusal.error, status.as_u16()))
}

fn no_response(error: reqwest::Error) -> Failure {
    Failure::NoResponse(error.without_url())
}

fn misconfigured(error: impl Into<Source>) -> Failure {
    Failure::Misconfigured(error.into())
}
