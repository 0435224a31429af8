//! Opens sessions, and makes the refresh tokens that they go on with.
//!
//! A session has ended when its row is gone, or when its generation is lower than its user's. To end all sessions of a
//! user, a statement raises the user's generation; opening a session copies it while the user's row is locked. So a
//! session that is opened while a password changes ends with the others, although the statement that removes those does
//! not see it yet.
//!
//! An access token outlives its session by up to 15 minutes. Statements that change something for good therefore check
//! the session themselves.
//!
//! A user has twenty sessions at most: signing in once more ends the oldest. That takes a second statement, since the
//! one that opens a session does not see those that are being opened at the same moment.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tracing::warn;

use super::{Caller, Device, Pepper, TokenIssuer, codes::NewAccount, tokens};
use crate::{
    Error, Result,
    database::{Database, Parameter},
    domain::{Mobile, SessionId, User, UserId},
    telemetry::Chain,
};

/// How long a refresh token is valid.
pub const REFRESH_LIFETIME: Duration = Duration::from_hours(30 * 24);
/// How long a session lasts at most, however often it is refreshed.
pub const SESSION_LIFETIME: Duration = Duration::from_hours(180 * 24);

/// How many sessions a user has at most.
pub const SESSIONS: i64 = 20;

/// Holds a refresh token: the user's id, so that a statement can name the user whose session it looks for, and 256
/// random bits. Only the SHA-256 of these is stored.
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

    /// Reads a token that a client sent, with the user that it claims.
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

/// Responds to a sign-in or a refresh, with the names of RFC 6749.
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
    pub fn new(issuer: &TokenIssuer, caller: Caller, refresh: &RefreshToken, user: Option<User>) -> Result<Self> {
        Ok(Self {
            access_token: issuer.issue(caller)?,
            token_type: "Bearer",
            expires_in: tokens::LIFETIME.as_secs(),
            refresh_token: refresh.text(caller.user),
            user,
        })
    }
}

/// Holds the hash that a password was verified against, and the one to store instead, if any.
#[derive(Clone, Copy)]
pub struct VerifiedPassword<'a> {
    /// The hash that was read. When it has changed since, the password is no longer the right one.
    pub stored: &'a str,
    /// A hash of the same password with the current parameters.
    pub upgraded: Option<&'a str>,
}

/// Stores the session with its first refresh token, and with $7 also the account if there is none. Returns no row when
/// the account is missing or its password changed. Both the insert and the update lock the user's row, so the session
/// gets the current generation.
///
/// An account keeps the hash of its number, by which what deleted accounts of that number did today counts for it too.
const OPEN: &str = "
    -- $1 number, $2 session, $3 refresh token, $4 its lifetime, $5 password hash as verified, $6 as upgraded,
    -- $7 whether a new account may be opened, $8 its id, $9 name, $10 e-mail address, $11 hash of the number,
    -- $12 device
    with opened as (
        insert into users (id, mobile, name, email, number_hash)
        select $8, $1, $9, $10, $11 where $7
        on conflict (mobile) do update set mobile = excluded.mobile
        returning id, mobile, name, email, created_at, generation
    ), known as (
        update users
        set password_hash = coalesce($6, password_hash)
        where not $7 and mobile = $1 and ($5::text is null or password_hash in ($5, $6))
        returning id, mobile, name, email, created_at, generation
    ), owner as (
        select * from opened union all select * from known
    ), session as (
        insert into sessions (user_id, id, generation, device)
        select id, $2, generation, $12 from owner
        on conflict (user_id, id) do nothing
    ), refresh as (
        insert into refresh_tokens (user_id, hash, session_id, expires_at)
        select id, $3, $2, now() + make_interval(secs => $4) from owner
        on conflict (user_id, hash) do nothing
    )
    select owner.*, coalesce(plans.plan, 'basic') as plan
    from owner left join plans on plans.user_id = owner.id";

/// Lists what a sign-in can prove.
pub enum Proof<'a> {
    /// A code, so the caller holds the phone.
    Code,
    /// A code that was sent for a sign-up: with the account to open if there is none, and the [hash](usage_hash) of the
    /// number.
    SignUp(NewAccount, Vec<u8>),
    /// The password.
    Password(VerifiedPassword<'a>),
}

/// Ends the oldest sessions beyond the number that a user may have. Of several that are sent at once, the last sees all
/// sessions.
const END_OLDEST: &str = "
    -- $1 user, $2 how many may last
    delete from sessions
    where user_id = $1 and id in (
        select id from sessions where user_id = $1 order by created_at desc, id desc offset $2
    )";

/// Opens a session on `device` for the owner of `mobile`, or returns `None` when the account is missing or its password
/// changed. More than [`SESSIONS`] that cannot be ended are only logged: the next sign-in ends them.
///
/// # Errors
/// When Postgres fails.
pub async fn open(
    database: &Database,
    issuer: &TokenIssuer,
    mobile: &Mobile,
    proof: Proof<'_>,
    device: Option<&Device>,
) -> Result<Option<TokenPair>> {
    let session = SessionId::new();
    let refresh = RefreshToken::new()?;
    let (password, account) = match proof {
        Proof::Code => (None, None),
        Proof::SignUp(account, number_hash) => (None, Some((account, number_hash))),
        Proof::Password(password) => (Some(password), None),
    };
    let new = account.as_ref().map(|(account, _)| account);
    let parameters: [&dyn Parameter; 12] = [
        mobile,
        &session,
        &refresh.hash(),
        &REFRESH_LIFETIME.as_secs_f64(),
        &password.map(|password| password.stored),
        &password.and_then(|password| password.upgraded),
        &new.is_some(),
        &UserId::new(),
        &new.and_then(|account| account.name.as_ref()),
        &new.and_then(|account| account.email.as_ref()),
        &account.as_ref().map(|(_, number_hash)| number_hash),
        &device.map(Device::as_str),
    ];
    let Some(row) = database.query_opt(OPEN, &parameters).await? else {
        return Ok(None);
    };
    let user = User::from(&row);
    if let Err(error) = database.query(END_OLDEST, &[&user.id, &SESSIONS]).await {
        warn!(error = %Chain(&error), "sessions beyond the limit go on");
    }
    let caller = Caller { user: user.id, session };
    TokenPair::new(issuer, caller, &refresh, Some(user)).map(Some)
}

/// Hashes a number for the count of messages that a deleted account used today, which is kept until midnight UTC.
#[must_use]
pub fn usage_hash(pepper: &Pepper, number: &str) -> Vec<u8> {
    pepper.hash("usage", &[number])
}

#[cfg(test)]
mod tests {
    //! Tests how a refresh token is written and read, and how many sessions a user has.

    use futures_util::future::join_all;

    use super::*;
    use crate::testing::{self, new_mobile};

    /// Opens a session by a code, over a connection of its own.
    async fn sign_in(database: &Database, mobile: &Mobile) -> TokenPair {
        let issuer = TokenIssuer::from_env().unwrap();
        let connection = database.another_connection();
        let pair = open(&connection, &issuer, mobile, Proof::Code, None).await;
        pair.unwrap().unwrap()
    }

    async fn account(database: &Database) -> Mobile {
        let mobile = new_mobile();
        let sql = "insert into users (id, mobile) values ($1, $2)";
        database.query(sql, &[&UserId::new(), &mobile]).await.unwrap();
        mobile
    }

    /// Tells which of some refresh tokens are of a session that lasts.
    async fn lasting(database: &Database, pairs: &[TokenPair]) -> Vec<bool> {
        let sql = "select exists (select from refresh_tokens where hash = $1)";
        let mut lasting = Vec::new();
        for pair in pairs {
            let hash = RefreshToken::parse(&pair.refresh_token).unwrap().1.hash();
            lasting.push(database.query_one(sql, &[&hash]).await.unwrap().get(0));
        }
        lasting
    }

    #[tokio::test]
    async fn the_oldest_of_twenty_sessions_ends_when_another_one_opens() {
        let database = testing::database().await;
        let (mobile, other) = (account(&database).await, account(&database).await);
        let of_another = [sign_in(&database, &other).await];
        let mut pairs = Vec::new();
        for _ in 0..23 {
            pairs.push(sign_in(&database, &mobile).await);
        }
        let expected = [[false; 3].as_slice(), &[true; 20]].concat();
        assert_eq!(lasting(&database, &pairs).await, expected);
        assert_eq!(lasting(&database, &of_another).await, [true]);
    }

    #[tokio::test]
    async fn thirty_sign_ins_at_once_leave_twenty_sessions() {
        let database = testing::database().await;
        let mobile = account(&database).await;
        let pairs = join_all((0..30).map(|_| sign_in(&database, &mobile))).await;
        assert_eq!(lasting(&database, &pairs).await.iter().filter(|lasts| **lasts).count(), 20);
    }

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
