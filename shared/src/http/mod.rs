//! HTTP: serving a function, reading its request and writing its answer.

pub mod cursor;
pub mod problem;
mod request;
mod response;

use std::{any::Any, future::ready, panic::AssertUnwindSafe};

use futures_util::{FutureExt, future::BoxFuture};
use lambda_http::{IntoResponse, RequestExt, service_fn};

pub use lambda_http::{Body, Request, Response};
pub use request::{
    MAX_BODY_BYTES, client_address, idempotency_key, json, json_or_default, path, query,
};
pub use response::{accepted, created, no_content, ok, ok_unless_known};

use crate::{Error, Result, config::ConfigError, telemetry};

/// Runs a function until Lambda ends its environment: configuration is read once, then every request goes to
/// `handler`. Errors and panics become problem documents and are logged here, and only here.
///
/// # Errors
/// When the configuration is wrong, which fails the init phase with the variable's name; or when the Lambda runtime
/// does not answer.
pub async fn serve<App, Handler, Answer>(
    configure: impl FnOnce() -> Result<App, ConfigError>,
    handler: Handler,
) -> Result<(), lambda_http::Error>
where
    App: Sync + 'static,
    Handler: Fn(&'static App, Request) -> Answer + Copy + Send,
    Answer: Future<Output = Result<Response<Body>>> + Send,
{
    telemetry::init();
    let app: &'static App = Box::leak(Box::new(configure()?));
    lambda_http::run(service_fn(move |request: Request| async move {
        let request_id = request.lambda_context().request_id;
        let answer = AssertUnwindSafe(async move { handler(app, request).await }).catch_unwind();
        let error = match answer.await {
            Ok(Ok(response)) => return Ok(Answered(response)),
            Ok(Err(error)) => error,
            Err(panic) => Error::internal(panic_message(panic.as_ref())),
        };
        telemetry::log(&error, &request_id);
        problem::response(&error, &request_id).map(Answered)
    }))
    .await
}

/// A response whose text is UTF-8, as every `String` is. For any other, `lambda_http` brings the tables of all character
/// sets: a tenth of a megabyte.
struct Answered(Response<Body>);

impl IntoResponse for Answered {
    fn into_response(self) -> BoxFuture<'static, Response<Body>> {
        ready(self.0).boxed()
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", message.unwrap_or("without a message"))
}
