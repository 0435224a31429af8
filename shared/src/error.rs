//! Everything that can go wrong with a request, in the words of the product.
//!
//! There is no HTTP here: [`http::problem`](crate::http::problem) gives each variant its status and problem type.
//! An adapter converts its vendor's error at its edge and keeps it as the source, which is logged and never shown.

use std::time::Duration;

use serde::Serialize;

/// The result of whatever may fail on behalf of a request.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The cause of an [`Error`], for the log.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a request was not served. The message of every variant may be shown to the caller.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request that cannot be read: bad JSON, header or cursor.
    #[error("{0}")]
    Malformed(String),
    /// The access token is missing or not acceptable.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// A wrong, spent or expired code, or an unknown number: deliberately one answer.
    #[error("The mobile number and the code do not match, or the code is no longer valid.")]
    WrongCode,
    /// A wrong password, or an unknown number: deliberately one answer.
    #[error("The mobile number and the password do not match.")]
    WrongPassword,
    /// It does not exist, or belongs to somebody else: deliberately one answer.
    #[error("There is no such {0}.")]
    NotFound(&'static str),
    /// The body is larger than the limit, in bytes.
    #[error("The request body is larger than {0} bytes.")]
    TooLarge(usize),
    /// The body is not declared to be JSON.
    #[error("The Content-Type must be application/json.")]
    NotJson,
    /// The request can be read, but some of its fields are not acceptable.
    #[error("Some fields are not acceptable.")]
    Invalid(Vec<InvalidField>),
    /// An Idempotency-Key that came before with another request.
    #[error("This Idempotency-Key was used for a different request.")]
    KeyReused,
    /// Somebody who has a subscription asked for another one.
    #[error("There is a subscription already. It can be changed in the portal.")]
    AlreadySubscribed {
        /// The address of Stripe's portal, good for some minutes.
        portal_url: String,
    },
    /// More than a limit allows.
    #[error("{}", .0.detail)]
    OverLimit(OverLimit),
    /// Something this needs does not answer at the moment; the same request may succeed soon.
    #[error("The service is temporarily unable to answer. Try again shortly.")]
    Unavailable(#[source] Source),
    /// A defect of ours.
    #[error("The request failed because of an internal error.")]
    Internal(#[source] Source),
}

/// A field that was not acceptable.
#[derive(Debug, Serialize)]
pub struct InvalidField {
    /// Its path in the request: `mobile`, `limit`.
    pub field: String,
    /// What would be acceptable.
    pub message: String,
}

/// A limit that was reached.
#[derive(Debug)]
pub struct OverLimit {
    /// A short name of the limit: `daily-messages`.
    pub policy: &'static str,
    /// What was exceeded, for the caller.
    pub detail: &'static str,
    /// How many are allowed in a window.
    pub limit: u32,
    /// How long a window is.
    pub window: Duration,
    /// How long until there is room again.
    pub retry_after: Duration,
}

impl Error {
    /// A single field that is not acceptable.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![InvalidField {
            field: field.into(),
            message: message.into(),
        }])
    }

    /// A dependency that does not answer.
    pub fn unavailable(source: impl Into<Source>) -> Self {
        Self::Unavailable(source.into())
    }

    /// A defect of ours.
    pub fn internal(source: impl Into<Source>) -> Self {
        Self::Internal(source.into())
    }
}
