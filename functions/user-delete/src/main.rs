//! `DELETE /user/me`: removes the account with its sessions, chatrooms and messages.

use lambda_http::{Body, Request, Response};
use shared::{
    Result,
    auth::TokenVerifier,
    config::ConfigError,
    database::{Database, Type},
    http,
};

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

/// Everything that belongs to the user refers to this row and goes with it.
const DELETE: &str = "delete from users where id = $1";

async fn delete(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    app.database
        .query(DELETE, &[(&caller.user, Type::UUID)])
        .await?;
    http::no_content()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, delete).await
}
