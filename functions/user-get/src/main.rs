//! `GET /user/me`: returns the caller's account and plan.

use lambda_http::{Body, Request, Response};
use shared::{Error, Result, auth::TokenVerifier, config::ConfigError, database::Database, domain::User, http};

struct App {
    tokens: TokenVerifier,
    database: Database,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self { tokens: TokenVerifier::from_env()?, database: Database::from_env()? })
    }
}

const GET: &str = "
    select users.id, users.mobile, users.name, users.email, users.created_at, plans.plan
    from users join plans on plans.user_id = users.id
    where users.id = $1";

async fn get(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let row = app.database.query_opt(GET, &[&caller.user]).await?;
    let row = row.ok_or(Error::AccountGone)?;
    http::ok(&User::from(&row))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, get).await
}
