//! Brings the database's schema up to date. Runs before new code serves; running it twice, or twice at once, is safe.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};
use shared::{config, database, telemetry};
use tracing::info;

async fn migrate(url: &str) -> Result<Value, Error> {
    let applied = database::migrate(url).await?;
    info!(applied, "the schema is up to date");
    Ok(json!({ "applied": applied, "schema_version": database::schema_version() }))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let url: &str = &config::required::<String>("DATABASE_URL")?;
    let handler = service_fn(async |_: LambdaEvent<Value>| migrate(url).await);
    lambda_runtime::run(handler).await
}
