//! Lists the errors of requests, in the words of the product.
//!
//! There is no HTTP here: [`http::problem`](crate::http::problem) gives each variant its status and problem type.
//! An adapter converts its vendor's error at its edge and keeps it as the source, which is logged and never shown.

use std::time::Duration;

use serde::Serialize;

/// Holds the outcome of a step of a request.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Keeps the cause of an [`Error`] for the log.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Says why a request was not served. The caller may see every variant's message, and never its source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request that cannot be read: bad JSON, header or cursor.
    #[error("{0}")]
    Malformed(String),
    /// The access token is missing or not acceptable.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The access token outlived its account, by minutes at most.
    #[error("This account no longer exists.")]
    AccountGone,
    /// The access token outlived its session, which was ended.
    #[error("This session has ended. Sign in again.")]
    SessionEnded,
    /// The session is good, but what is asked for needs a proof of the moment.
    #[error("This needs a proof that it is you: your password, or a code that was sent to confirm it.")]
    SignInAgain,
    /// A wrong, spent or expired code, or an unknown number: deliberately the same error.
    #[error("The mobile number and the code do not match, or the code is no longer valid.")]
    WrongCode,
    /// A wrong password, or an unknown number: deliberately the same error.
    #[error("The mobile number and the password do not match.")]
    WrongPassword,
    /// A resource that does not exist, or belongs to another user: deliberately the same error.
    #[error("There is no such {0}.")]
    NotFound(&'static str),
    /// The body is larger than the limit, in bytes.
    #[error("The request body is larger than {0} bytes.")]
    TooLarge(usize),
    /// The body is not declared to be JSON.
    #[error("The Content-Type must be application/json.")]
    NotJson,
    /// The body is compressed.
    #[error("The Content-Encoding must be identity: compressed bodies are not read.")]
    Encoded,
    /// The request can be read, but some of its fields are not acceptable.
    #[error("Some fields are not acceptable.")]
    Invalid(Vec<InvalidField>),
    /// An Idempotency-Key that an earlier, different request had.
    #[error("This Idempotency-Key was used for a different request.")]
    KeyReused,
    /// A checkout by a user who has a subscription.
    #[error("There is a subscription already. It can be changed in the portal.")]
    AlreadySubscribed {
        /// The address of Stripe's portal, good for some minutes.
        portal_url: String,
    },
    /// A request beyond a limit.
    #[error("{}", .0.detail)]
    OverLimit(OverLimit),
    /// A dependency that does not respond at the moment; a retry may succeed.
    #[error("The service is temporarily unable to answer. Try again shortly.")]
    Unavailable(#[source] Source),
    /// A defect of this code.
    #[error("The request failed because of an internal error.")]
    Internal(#[source] Source),
}

/// Names a field that is not acceptable.
#[derive(Debug, Serialize)]
pub struct InvalidField {
    /// Its path in the request: `mobile`, `limit`.
    pub field: String,
    /// What would be acceptable.
    pub message: String,
}

/// Describes a limit that was reached.
#[derive(Debug)]
pub struct OverLimit {
    /// A short name of the limit: `daily-messages`.
    pub policy: &'static str,
    /// The message for the caller.
    pub detail: &'static str,
    /// The number allowed in a window.
    pub limit: u32,
    /// The length of a window.
    pub window: Duration,
    /// The time until a request is allowed again.
    pub retry_after: Duration,
}

impl Error {
    /// Refuses a single field.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![InvalidField { field: field.into(), message: message.into() }])
    }

    /// Reports a dependency that does not respond.
    pub fn unavailable(source: impl Into<Source>) -> Self {
        Self::Unavailable(source.into())
    }

    /// Reports a defect of this code.
    pub fn internal(source: impl Into<Source>) -> Self {
        Self::Internal(source.into())
    }
}
