//! `GET /health`: tells monitors whether the service works.
//!
//! It works when this function runs and reaches Postgres: without the state store or the queue, chat goes on.

use lambda_http::{Body, Request, Response};
use serde::Serialize;
use shared::{Result, config::ConfigError, database::Database, http};

struct App {
    database: Database,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self { database: Database::from_env()? })
    }
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

const ALIVE: &str = "select 1";

async fn check(app: &App, _request: Request) -> Result<Response<Body>> {
    app.database.query(ALIVE, &[]).await?;
    http::ok(&Health { status: "ok" })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, check).await
}
