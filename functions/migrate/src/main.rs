//! Brings the database's schema up to date. A deploy runs it before any new code serves, as a custom resource whose
//! properties name the schema's version; when it fails, so does the deploy. Running it twice, or twice at once, is
//! safe.

use lambda_runtime::{Error, LambdaEvent};
use serde_json::{Value, json};
use shared::{
    cloudformation::{self, Attributes, Request},
    database::{self, Database},
    telemetry::Chain,
};
use tracing::{error, info};

/// The name under which CloudFormation knows the schema. Another one would make it delete the old.
const RESOURCE: &str = "schema";

async fn migrate(database: &Database, event: LambdaEvent<Request>) -> Result<Value, Error> {
    let request = event.payload;
    let applied = match request {
        Request::Delete(_) => Ok(0), // the stack is removed; its data stays
        _ => database::migrate(database).await,
    };
    match &applied {
        Ok(applied) => info!(applied, "the schema is up to date"),
        Err(error) => error!(error = %Chain(&**error), "a migration failed"),
    }
    let outcome = applied.as_ref().map(|_| Attributes::new()).map_err(|error| Chain(&**error).to_string());
    cloudformation::answer(&request, RESOURCE, outcome).await?;
    Ok(json!({ "applied": applied.ok(), "schema_version": database::schema_version() }))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shared::run(Database::for_migrations, migrate).await
}
