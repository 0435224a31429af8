//! `POST /auth/login`: signs in with a password.
//!
//! It takes two statements, since the stored hash must be read before the password can be verified. The second one
//! repeats what was read as its condition, so a password that was reset in between opens no session.

use lambda_http::{Body, Request, Response};
use secrecy::SecretString;
use serde::Deserialize;
use shared::{
    Error, Result,
    auth::{
        TokenIssuer,
        passwords::{self, Verdict},
        sessions::{self, VerifiedPassword},
    },
    config::ConfigError,
    database::Database,
    domain::Mobile,
    http,
    state::StateStore,
};

struct App {
    database: Database,
    state: StateStore,
    tokens: TokenIssuer,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            database: Database::from_env()?,
            state: StateStore::from_env()?,
            tokens: TokenIssuer::from_env()?,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    mobile: Mobile,
    password: SecretString,
}

const PASSWORD_HASH: &str = "select password_hash from users where mobile = $1";

async fn login(app: &App, request: Request) -> Result<Response<Body>> {
    let login: Login = http::json(&request)?;
    let address = http::client_address(&request);
    passwords::count_sign_in(&app.state, &login.mobile, &address).await?;

    let row = app
        .database
        .query_opt(PASSWORD_HASH, &[&login.mobile.as_str()])
        .await?;
    let stored: Option<String> = row.and_then(|row| row.get("password_hash"));
    let upgraded = match passwords::verify(&login.password, stored.as_deref())? {
        Verdict::Wrong => return Err(Error::WrongPassword),
        Verdict::Right => None,
        Verdict::Outdated(upgraded) => Some(upgraded),
    };

    let password = stored.as_deref().map(|stored| VerifiedPassword {
        stored,
        upgraded: upgraded.as_deref(),
    });
    let pair = sessions::open(&app.database, &app.tokens, &login.mobile, password).await?;
    http::ok(&pair.ok_or(Error::WrongPassword)?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, login).await
}
