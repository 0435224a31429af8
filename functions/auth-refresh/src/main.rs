//! `POST /auth/refresh`: a new pair of tokens for a refresh token, which is spent by that.
//!
//! Whoever uses a spent token, be it the thief or the owner, ends the session for both (RFC 9700, 4.14.2). For thirty
//! seconds a spent token still works, so that two tabs may refresh at once.

use std::time::Duration;

use garde::Validate;
use lambda_http::{Body, Request, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use shared::{
    Error, Result,
    auth::{
        Caller, TokenIssuer,
        sessions::{self, REFRESH_LIFETIME, RefreshToken, TokenPair},
    },
    config::ConfigError,
    database::{Database, Type},
    http,
};

const GRACE: Duration = Duration::from_secs(30);

struct App {
    database: Database,
    tokens: TokenIssuer,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            database: Database::from_env()?,
            tokens: TokenIssuer::from_env()?,
        })
    }
}

#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct Refresh {
    #[garde(skip)]
    refresh_token: SecretString,
}

/// Locking the token first makes parallel refreshes take turns: the first spends it, the others come within the grace.
const ROTATE: &str = "
    with token as (
        select token.hash, token.session_id, session.user_id,
               token.spent_at is null or token.spent_at > now() - make_interval(secs => $3) as usable
        from refresh_tokens token join sessions session on session.id = token.session_id
        where token.hash = $1 and token.expires_at > now()
        for update of token for key share of session
    ), spent as (
        update refresh_tokens
        set spent_at = coalesce(spent_at, now())
        from token
        where refresh_tokens.hash = token.hash and token.usable
    ), next as (
        insert into refresh_tokens (hash, session_id, expires_at)
        select $2, session_id, now() + make_interval(secs => $4) from token where usable
        on conflict (hash) do nothing
    ), ended as (
        delete from sessions using token where sessions.id = token.session_id and not token.usable
    )
    select session_id, user_id, usable from token";

async fn refresh(app: &App, request: Request) -> Result<Response<Body>> {
    let refresh: Refresh = http::json(&request)?;
    let next = RefreshToken::new()?;
    let row = app
        .database
        .query_opt(
            ROTATE,
            &[
                (
                    &sessions::hash(refresh.refresh_token.expose_secret()),
                    Type::BYTEA,
                ),
                (&next.hash(), Type::BYTEA),
                (&GRACE.as_secs_f64(), Type::FLOAT8),
                (&REFRESH_LIFETIME.as_secs_f64(), Type::FLOAT8),
            ],
        )
        .await?;
    let row = row.filter(|row| row.get("usable"));
    let row = row.ok_or(Error::Unauthenticated(
        "The refresh token is not valid, or no longer.",
    ))?;
    let caller = Caller {
        user: row.get("user_id"),
        session: row.get("session_id"),
    };
    http::ok(&TokenPair::new(&app.tokens, caller, next, None)?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, refresh).await
}
