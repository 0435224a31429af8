//! Runs a function that events invoke: a queue's, a schedule's, a deploy's. [`http`](crate::http) serves the others.

use std::fmt;

use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    config::ConfigError,
    error::Source,
    telemetry::{self, Chain},
};

/// Runs a function until Lambda ends its environment: reads the configuration once, then passes every event to
/// `handler`. Logs the error that it returns, which fails the invocation.
///
/// # Errors
/// When the configuration is wrong, which fails the init phase with the variable's name; or when the Lambda runtime
/// does not respond.
pub async fn run<App, Event, Output, Handler, Outcome>(
    configure: impl FnOnce() -> Result<App, ConfigError>,
    handler: Handler,
) -> Result<(), lambda_runtime::Error>
where
    App: 'static,
    Event: DeserializeOwned,
    Output: Serialize,
    Handler: Fn(&'static App, LambdaEvent<Event>) -> Outcome + Copy,
    Outcome: Future<Output = Result<Output, Source>>,
{
    telemetry::init();
    let app: &'static App = Box::leak(Box::new(configure()?));
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Event>| async move {
        let request_id = event.context.request_id.clone();
        handler(app, event).await.map_err(|error| {
            let error = Chain(&*error).to_string();
            tracing::error!(request_id, error, "the invocation failed");
            Failed(error)
        })
    }))
    .await
}

/// Reports a failed invocation's causes to the invoker.
///
/// The Lambda runtime logs its `Debug`, so that is only a reminder: the causes are in the log already.
struct Failed(String);

impl fmt::Debug for Failed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the invocation's error was returned to Lambda")
    }
}

impl From<Failed> for Diagnostic {
    fn from(Failed(error_message): Failed) -> Self {
        Self { error_type: "Failed".to_owned(), error_message }
    }
}
