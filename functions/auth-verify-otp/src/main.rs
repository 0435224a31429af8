//! `POST /auth/verify-otp`: signs in whoever has the code, and opens the account of whoever signed up with it.
//!
//! The code is taken before anything is stored. If the storing fails, the user asks for another code: better than a
//! code that works twice. A second statement ends the oldest of too many sessions: see [`sessions`].

use lambda_http::{Body, Request, Response};
use serde::Deserialize;
use shared::{
    Error, Result,
    auth::{
        CodeVerifier, Device, Pepper, TokenIssuer,
        codes::{Challenge, Guess, Purpose},
        sessions,
    },
    config::ConfigError,
    database::Database,
    domain::Mobile,
    http,
};

struct App {
    codes: CodeVerifier,
    database: Database,
    pepper: Pepper,
    tokens: TokenIssuer,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            codes: CodeVerifier::from_env()?,
            database: Database::from_env()?,
            pepper: Pepper::from_env()?,
            tokens: TokenIssuer::from_env()?,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Proof {
    mobile: Mobile,
    challenge: Challenge,
    otp: Guess,
}

async fn verify(app: &App, request: Request) -> Result<Response<Body>> {
    let Proof { mobile, challenge, otp } = http::json(&request)?;
    let address = app.codes.address(&request);
    let account = app.codes.take(Purpose::SignIn, &mobile, &challenge, &otp, &address).await?;

    let proof = match account {
        Some(account) => sessions::Proof::SignUp(account, sessions::usage_hash(&app.pepper, mobile.as_str())),
        None => sessions::Proof::Code,
    };
    let device = Device::of(&request);
    let pair = sessions::open(&app.database, &app.tokens, &mobile, proof, device.as_ref()).await?;
    http::ok(&pair.ok_or(Error::WrongCode)?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, verify).await
}
