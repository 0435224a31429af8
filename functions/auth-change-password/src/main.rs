//! `POST /auth/change-password`: sets a first or another password, and ends the user's other sessions.
//!
//! It takes two statements, since the stored hash must be read before the current password can be verified. The second
//! one repeats what was read as its condition: of two changes at once, one wins and the other is refused.

use garde::Validate;
use lambda_http::{Body, Request, Response};
use secrecy::SecretString;
use serde::Deserialize;
use shared::{
    Error, Result,
    auth::{
        Password, TokenVerifier,
        passwords::{self, Verdict},
    },
    config::ConfigError,
    database::Database,
    http,
    state::StateStore,
};

struct App {
    tokens: TokenVerifier,
    database: Database,
    state: StateStore,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            tokens: TokenVerifier::from_env()?,
            database: Database::from_env()?,
            state: StateStore::from_env()?,
        })
    }
}

#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct Change {
    #[garde(skip)]
    current_password: Option<SecretString>,
    #[garde(skip)]
    new_password: Password,
}

const PASSWORD_HASH: &str = "select password_hash from users where id = $1";

/// The second alternative finds what this very statement did, in case it is sent twice.
const CHANGE: &str = "
    with owner as (
        update users
        set password_hash = $4
        where id = $1 and (password_hash is not distinct from $3 or password_hash = $4)
        returning id
    ), ended as (
        delete from sessions using owner where sessions.user_id = owner.id and sessions.id <> $2
    )
    select id from owner";

async fn change(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let change: Change = http::json(&request)?;

    let row = app
        .database
        .query_opt(PASSWORD_HASH, &[&caller.user])
        .await?;
    let row = row.ok_or(Error::Unauthenticated("This account no longer exists."))?;
    let stored: Option<String> = row.get("password_hash");
    if let Some(stored) = &stored {
        let current = change.current_password.as_ref();
        let current = current
            .ok_or_else(|| Error::invalid("current_password", "is required: a password is set"))?;
        passwords::count_change(&app.state, caller.user).await?;
        if let Verdict::Wrong = passwords::verify(current, Some(stored))? {
            return Err(Error::WrongPassword);
        }
    }

    let hash = change.new_password.hash()?;
    let row = app
        .database
        .query_opt(CHANGE, &[&caller.user, &caller.session, &stored, &hash])
        .await?;
    row.ok_or(Error::WrongPassword)?;
    http::no_content()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, change).await
}
