//! `POST /auth/verify-otp`: signs in whoever has the code.
//!
//! The code is taken before the session is stored. If the storing fails, the user asks for another code: better than
//! a code that works twice.

use lambda_http::{Body, Request, Response};
use serde::Deserialize;
use shared::{
    Error, Result,
    auth::{
        Codes, TokenIssuer,
        codes::{Guess, Purpose},
        sessions,
    },
    config::ConfigError,
    database::Database,
    domain::Mobile,
    http,
};

struct App {
    codes: Codes,
    database: Database,
    tokens: TokenIssuer,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            codes: Codes::from_env()?,
            database: Database::from_env()?,
            tokens: TokenIssuer::from_env()?,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Proof {
    mobile: Mobile,
    otp: Guess,
}

async fn verify(app: &App, request: Request) -> Result<Response<Body>> {
    let proof: Proof = http::json(&request)?;
    app.codes
        .take(Purpose::SignIn, &proof.mobile, &proof.otp)
        .await?;

    let pair = sessions::open(&app.database, &app.tokens, &proof.mobile, None).await?;
    http::ok(&pair.ok_or(Error::WrongCode)?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, verify).await
}
