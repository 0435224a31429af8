//! Sessions: a refresh token is 256 random bits, given once and stored only as its SHA-256.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Caller, TokenIssuer, tokens};
use crate::{Error, Result, domain::User};

/// How long a refresh token is valid.
pub const REFRESH_LIFETIME: Duration = Duration::from_hours(30 * 24);

/// A refresh token that was just made.
pub struct RefreshToken(String);

impl RefreshToken {
    /// A token that nobody knows yet.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new() -> Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(Error::internal)?;
        Ok(Self(BASE64_URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// What is stored of it.
    #[must_use]
    pub fn hash(&self) -> Vec<u8> {
        hash(&self.0)
    }
}

/// What is stored of a refresh token.
#[must_use]
pub fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token).to_vec()
}

/// The answer to whoever signed in or refreshed, with the names of RFC 6749.
#[derive(Serialize)]
pub struct TokenPair {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    refresh_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User>,
}

impl TokenPair {
    /// A pair for `caller`; `user` is shown to whoever just signed in.
    ///
    /// # Errors
    /// When signing fails, which is a defect.
    pub fn new(
        issuer: &TokenIssuer,
        caller: Caller,
        refresh: RefreshToken,
        user: Option<User>,
    ) -> Result<Self> {
        Ok(Self {
            access_token: issuer.issue(caller)?,
            token_type: "Bearer",
            expires_in: tokens::LIFETIME.as_secs(),
            refresh_token: refresh.0,
            user,
        })
    }
}
