//! `POST /auth/signup`: opens an account for a mobile number and sends it a code.
//!
//! A number that has an account simply gets a sign-in code, and the answer is the same: nobody learns who is a
//! customer. An unverified number owns nothing, so until somebody proves it, whoever signs up last names it.

use lambda_http::{Body, Request, Response};
use serde::Deserialize;
use shared::{
    Result,
    auth::{Codes, Delivery, codes::Purpose},
    config::ConfigError,
    database::Database,
    domain::{Email, Mobile, Name, UserId},
    http,
};

struct App {
    codes: Codes,
    database: Database,
    delivery: Delivery,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            codes: Codes::from_env()?,
            database: Database::from_env()?,
            delivery: Delivery::from_env()?,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signup {
    mobile: Mobile,
    name: Option<Name>,
    email: Option<Email>,
}

const SIGN_UP: &str = "
    insert into users (id, mobile, name, email)
    values ($1, $2, $3, $4)
    on conflict (mobile) do update
    set name = excluded.name, email = excluded.email
    where users.verified_at is null";

async fn sign_up(app: &App, request: Request) -> Result<Response<Body>> {
    let signup: Signup = http::json(&request)?;
    let address = http::client_address(&request);

    let code = app
        .codes
        .issue(Purpose::SignIn, &signup.mobile, &address)
        .await?;
    app.database
        .query(
            SIGN_UP,
            &[
                &UserId::new(),
                &signup.mobile.as_str(),
                &signup.name,
                &signup.email,
            ],
        )
        .await?;
    let sent = app.delivery.deliver(&signup.mobile, true, &code).await?;
    http::accepted(None, &sent)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, sign_up).await
}
