//! `POST /auth/login`: signs in with a password.
//!
//! It takes two statements, since the stored hash must be read before the password can be verified. The second one
//! repeats what was read as its condition, so a password that was reset in between opens no session. A third ends the
//! oldest of too many sessions: see [`sessions`].

use lambda_http::{Body, Request, Response};
use secrecy::SecretString;
use serde::Deserialize;
use shared::{
    Error, Result,
    auth::{
        Attempts, Device, TokenIssuer,
        passwords::{self, PasswordAttempt, Verdict},
        sessions::{self, Proof, VerifiedPassword},
    },
    config::ConfigError,
    database::Database,
    domain::Mobile,
    http,
};

struct App {
    attempts: Attempts,
    database: Database,
    tokens: TokenIssuer,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self { attempts: Attempts::from_env()?, database: Database::from_env()?, tokens: TokenIssuer::from_env()? })
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
    let Login { mobile, password } = http::json(&request)?;
    let address = app.attempts.address(&request);
    let attempt = PasswordAttempt::to_sign_in(&app.attempts, &mobile, &address).await?;

    let row = app.database.query_opt(PASSWORD_HASH, &[&mobile]).await?;
    let stored: Option<String> = row.and_then(|row| row.get("password_hash"));
    let verdict = passwords::verify(&password, stored.as_deref())?;
    let proof = match (&stored, &verdict) {
        (None, _) | (_, Verdict::Wrong) => return Err(Error::WrongPassword),
        (Some(stored), Verdict::Right) => VerifiedPassword { stored, upgraded: None },
        (Some(stored), Verdict::Outdated(upgraded)) => VerifiedPassword { stored, upgraded: Some(upgraded) },
    };

    let device = Device::of(&request);
    let (pair, ()) = tokio::join!(
        sessions::open(&app.database, &app.tokens, &mobile, Proof::Password(proof), device.as_ref()),
        attempt.succeed()
    );
    http::ok(&pair?.ok_or(Error::WrongPassword)?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, login).await
}
