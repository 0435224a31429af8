//! `POST /auth/send-otp`: sends a sign-in code to a number that has an account.
//!
//! A number without one gets the same answer after the same work, and nothing is sent.

use lambda_http::{Body, Request, Response};
use serde::Deserialize;
use shared::{
    Result,
    auth::{Codes, Delivery, codes::Purpose},
    config::ConfigError,
    database::Database,
    domain::Mobile,
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
struct Recipient {
    mobile: Mobile,
}

const HAS_ACCOUNT: &str = "select exists (select from users where mobile = $1)";

async fn send_otp(app: &App, request: Request) -> Result<Response<Body>> {
    let Recipient { mobile } = http::json(&request)?;
    let address = http::client_address(&request);

    let code = app.codes.issue(Purpose::SignIn, &mobile, &address).await?;
    let row = app
        .database
        .query_one(HAS_ACCOUNT, &[&mobile.as_str()])
        .await?;
    let sent = app.delivery.deliver(&mobile, row.get(0), &code).await?;
    http::accepted(None, &sent)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, send_otp).await
}
