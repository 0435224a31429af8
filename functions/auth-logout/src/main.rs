//! `POST /auth/logout`: ends this session, or all of the user's.
//!
//! Its refresh tokens stop working at once; an access token that is already out runs out within 15 minutes.

use garde::Validate;
use lambda_http::{Body, Request, Response};
use serde::Deserialize;
use shared::{Result, auth::TokenVerifier, config::ConfigError, database::Database, http};

struct App {
    tokens: TokenVerifier,
    database: Database,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            tokens: TokenVerifier::from_env()?,
            database: Database::from_env()?,
        })
    }
}

#[derive(Deserialize, Validate, Default)]
#[serde(deny_unknown_fields, default)]
struct Extent {
    #[garde(skip)]
    everywhere: bool,
}

const END: &str = "delete from sessions where user_id = $1 and (id = $2 or $3)";

async fn log_out(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let extent: Extent = http::json_or_default(&request)?;
    app.database
        .query(END, &[&caller.user, &caller.session, &extent.everywhere])
        .await?;
    http::no_content()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, log_out).await
}
