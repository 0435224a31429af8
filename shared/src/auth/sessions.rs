//! Sessions. A refresh token is 256 random bits, given once and stored only as its SHA-256.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Caller, TokenIssuer, tokens};
use crate::{
    Error, Result,
    database::Database,
    domain::{Mobile, SessionId, User},
};

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

/// The hash that a password was verified against, and the one to store instead, if any.
#[derive(Clone, Copy)]
pub struct VerifiedPassword<'a> {
    /// As it was read. If it changed meanwhile, the password is no longer the right one.
    pub stored: &'a str,
    /// The same password under today's parameters.
    pub upgraded: Option<&'a str>,
}

/// Stores the session with its first refresh token, and that the number is verified. No account, or another password
/// by now, and there is no row.
const OPEN: &str = "
    with owner as (
        update users
        set verified_at = coalesce(verified_at, now()), password_hash = coalesce($6, password_hash)
        where mobile = $1 and ($5::text is null or password_hash in ($5, $6))
        returning id, mobile, name, email, created_at
    ), session as (
        insert into sessions (id, user_id)
        select $2, id from owner
        on conflict (id) do nothing
    ), refresh as (
        insert into refresh_tokens (hash, session_id, expires_at)
        select $3, $2, now() + make_interval(secs => $4) from owner
        on conflict (hash) do nothing
    )
    select owner.*, plans.plan
    from owner join plans on plans.user_id = owner.id";

/// Opens a session for the owner of `mobile`, who proved it by a code or by a `password`. `None` means that there is
/// no such account, or the password is no longer the right one.
///
/// # Errors
/// When Postgres fails.
pub async fn open(
    database: &Database,
    issuer: &TokenIssuer,
    mobile: &Mobile,
    password: Option<VerifiedPassword<'_>>,
) -> Result<Option<TokenPair>> {
    let session = SessionId::new();
    let refresh = RefreshToken::new()?;
    let row = database
        .query_opt(
            OPEN,
            &[
                &mobile.as_str(),
                &session,
                &refresh.hash(),
                &REFRESH_LIFETIME.as_secs_f64(),
                &password.map(|password| password.stored),
                &password.and_then(|password| password.upgraded),
            ],
        )
        .await?;
    let pair = row.map(|row| {
        let user = User::from(&row);
        let caller = Caller {
            user: user.id,
            session,
        };
        TokenPair::new(issuer, caller, refresh, Some(user))
    });
    pair.transpose()
}
