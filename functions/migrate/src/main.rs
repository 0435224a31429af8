//! Brings the database's schema up to date. A deploy runs it before any new code serves, as a custom resource whose
//! properties name the schema's version; when it fails, so does the deploy. Running it twice, or twice at once, is
//! safe.

use lambda_runtime::{Error, LambdaEvent};
use serde_json::{Value, json};
use shared::{
    cloudformation::{Attributes, CloudFormation, Request},
    config::ConfigError,
    database::{self, Database},
    telemetry::Chain,
};
use tracing::{error, info};

/// The name under which CloudFormation knows the schema. Another one would make it delete the old.
const RESOURCE: &str = "schema";

struct App {
    cloudformation: CloudFormation,
    database: Database,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self { cloudformation: CloudFormation::from_env()?, database: Database::for_migrations()? })
    }
}

async fn migrate(app: &App, event: LambdaEvent<Request>) -> Result<Value, Error> {
    let step = app.cloudformation.accept(event.payload)?;
    let applied = match step.properties {
        Some(_) => database::migrate(&app.database).await,
        None => Ok(0), // the stack is removed; its data stays
    };
    match &applied {
        Ok(applied) => info!(applied, "the schema is up to date"),
        Err(error) => error!(error = %Chain(&**error), "a migration failed"),
    }
    let outcome = applied.as_ref().map(|_| Attributes::new()).map_err(|error| Chain(&**error).to_string());
    step.respond(RESOURCE, outcome).await?;
    Ok(json!({ "applied": applied.ok(), "schema_version": database::schema_version() }))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shared::run(App::from_env, migrate).await
}
