//! `POST /auth/reset-password`: sets a new password with a code, and ends every session of the user.

use lambda_http::{Body, Request, Response};
use serde::Deserialize;
use shared::{
    Error, Result,
    auth::{
        CodeVerifier, Password,
        codes::{Challenge, Guess, Purpose},
        passwords,
    },
    config::ConfigError,
    database::Database,
    domain::Mobile,
    http,
};

struct App {
    codes: CodeVerifier,
    database: Database,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self { codes: CodeVerifier::from_env()?, database: Database::from_env()? })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reset {
    mobile: Mobile,
    challenge: Challenge,
    otp: Guess,
    new_password: Password,
}

/// Stores the new hash, and returns no row when there is no account. Raising the generation ends every session, also
/// one that is being opened at this moment. The sessions' rows stay until their tokens expire: a number does not tell
/// which partition holds them.
const RESET: &str = "
    -- $1 number, $2 password hash
    update users
    set password_hash = $2, generation = generation + 1
    where mobile = $1
    returning id";

async fn reset(app: &App, request: Request) -> Result<Response<Body>> {
    let Reset { mobile, challenge, otp, new_password } = http::json(&request)?;
    let address = app.codes.address(&request);
    app.codes.take(Purpose::ResetPassword, &mobile, &challenge, &otp, &address).await?;

    let hash = new_password.hash()?;
    let row = app.database.query_opt(RESET, &[&mobile, &hash]).await?;
    row.ok_or(Error::WrongCode)?;
    // The new password is not locked by failures with the old one.
    passwords::forget_failures(app.codes.attempts(), &mobile).await;
    http::no_content()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, reset).await
}
