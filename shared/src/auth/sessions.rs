//! Sessions: how they are opened, and the refresh tokens they go on with.
//!
//! A session has ended when its row is gone or is of an earlier epoch than its user. Whatever ends all sessions of a
//! user raises the user's epoch, and opening a session copies it while the user's row is locked. So a session that is
//! opened while a password changes does not survive the change, although the statement that removes the others cannot
//! see it yet.
//!
//! An access token outlives its session by up to 15 minutes. Statements that change something for good therefore ask
//! for the session themselves.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Caller, TokenIssuer, tokens};
use crate::{
    Error, Result,
    database::Database,
    domain::{Mobile, SessionId, User, UserId},
};

/// How long a refresh token is valid.
pub const REFRESH_LIFETIME: Duration = Duration::from_hours(30 * 24);
/// How long a session can go on, however often it is refreshed.
pub const SESSION_LIFETIME: Duration = Duration::from_hours(180 * 24);

/// A refresh token: the user's id, so that a statement can name the user whose session it looks for, and 256 random
/// bits. Only the SHA-256 of these is stored.
pub struct RefreshToken([u8; Self::SECRET_BYTES]);

impl RefreshToken {
    const SECRET_BYTES: usize = 32;

    /// Makes a token that nobody knows yet.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new() -> Result<Self> {
        let mut secret = [0; Self::SECRET_BYTES];
        getrandom::fill(&mut secret).map_err(Error::internal)?;
        Ok(Self(secret))
    }

    /// Reads a token that a client sent, and whose it claims to be.
    #[must_use]
    pub fn parse(text: &str) -> Option<(UserId, Self)> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (user, secret) = bytes.split_first_chunk()?;
        Some((UserId::from_bytes(*user), Self(secret.try_into().ok()?)))
    }

    /// Writes the token as the client of `user` keeps it.
    #[must_use]
    pub fn text(&self, user: UserId) -> String {
        BASE64_URL_SAFE_NO_PAD.encode([user.as_bytes().as_slice(), &self.0].concat())
    }

    /// Hashes the token for storing it.
    #[must_use]
    pub fn hash(&self) -> Vec<u8> {
        Sha256::digest(self.0).to_vec()
    }
}

/// The response to whoever signed in or refreshed, with the names of RFC 6749.
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
    /// Issues a pair for `caller`; `user` is shown to whoever just signed in.
    ///
    /// # Errors
    /// When signing fails, which is a defect.
    pub fn new(
        issuer: &TokenIssuer,
        caller: Caller,
        refresh: &RefreshToken,
        user: Option<User>,
    ) -> Result<Self> {
        Ok(Self {
            access_token: issuer.issue(caller)?,
            token_type: "Bearer",
            expires_in: tokens::LIFETIME.as_secs(),
            refresh_token: refresh.text(caller.user),
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
/// by now, and there is no row. The update locks the user's row, so the epoch that the session gets is the current one.
const OPEN: &str = "
    -- $1 number, $2 session, $3 refresh token, $4 its lifetime, $5 password hash as verified, $6 as upgraded
    with owner as (
        update users
        set verified_at = coalesce(verified_at, now()), password_hash = coalesce($6, password_hash)
        where mobile = $1 and ($5::text is null or password_hash in ($5, $6))
        returning id, mobile, name, email, created_at, epoch
    ), session as (
        insert into sessions (user_id, id, epoch)
        select id, $2, epoch from owner
        on conflict (user_id, id) do nothing
    ), refresh as (
        insert into refresh_tokens (user_id, hash, session_id, expires_at)
        select id, $3, $2, now() + make_interval(secs => $4) from owner
        on conflict (user_id, hash) do nothing
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
        TokenPair::new(issuer, caller, &refresh, Some(user))
    });
    pair.transpose()
}

#[cfg(test)]
mod tests {
    //! What a refresh token says, and to whom.

    use super::*;

    #[test]
    fn a_refresh_token_reads_back_its_user_and_its_hash() {
        let (user, token) = (UserId::new(), RefreshToken::new().unwrap());
        let (read, again) = RefreshToken::parse(&token.text(user)).unwrap();
        assert_eq!((read, again.hash()), (user, token.hash()));
    }

    #[test]
    fn a_text_of_another_length_is_no_refresh_token() {
        let text = RefreshToken::new().unwrap().text(UserId::new());
        for wrong in ["", "unknown", &text[4..], &format!("{text}AAAA")] {
            assert!(RefreshToken::parse(wrong).is_none(), "{wrong:?}");
        }
    }
}
