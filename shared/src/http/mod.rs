//! Serves a function over HTTP: parses its requests and writes its responses.

pub mod cursor;
mod fields;
pub mod problem;
mod proxy;
mod request;
mod response;
mod streaming;

use std::{any::Any, future::ready, panic::AssertUnwindSafe};

use futures_util::{FutureExt, future::BoxFuture};
use lambda_http::{IntoResponse, RequestExt, http::Method, service_fn};

pub use lambda_http::{Body, Request, Response};
pub use proxy::TrustedProxy;
pub use request::{MAX_BODY_BYTES, idempotency_key, json, json_or_default, path, query, query_choice, raw_path};
pub use response::{accepted, created, no_content, ok, ok_unless_known};
pub use streaming::{COMMENT, ChunkWriter, Chunks, DONE, chunks, event_stream, no_events, serve_streaming};

use crate::{Error, Result, config::ConfigError, telemetry};

/// Runs a function whose operation takes no query parameters; see [`serve_with_query`].
///
/// # Errors
/// As [`serve_with_query`].
pub async fn serve<App, Handler, Outcome>(
    configure: impl FnOnce() -> Result<App, ConfigError>,
    handler: Handler,
) -> Result<(), lambda_http::Error>
where
    App: Sync + 'static,
    Handler: Fn(&'static App, Request) -> Outcome + Copy + Send,
    Outcome: Future<Output = Result<Response<Body>>> + Send,
{
    serve_with_query(&[], configure, handler).await
}

/// Runs a function until Lambda ends its environment: reads the configuration once, then passes every request to
/// `handler`, unless it has other query parameters than `known_query`. Turns errors and panics into problem documents,
/// and logs them; no other place does. A response to `HEAD` has no body.
///
/// # Errors
/// When the configuration is wrong, which fails the init phase with the variable's name; or when the Lambda runtime
/// does not respond.
pub async fn serve_with_query<App, Handler, Outcome>(
    known_query: &'static [&'static str],
    configure: impl FnOnce() -> Result<App, ConfigError>,
    handler: Handler,
) -> Result<(), lambda_http::Error>
where
    App: Sync + 'static,
    Handler: Fn(&'static App, Request) -> Outcome + Copy + Send,
    Outcome: Future<Output = Result<Response<Body>>> + Send,
{
    telemetry::init();
    let app: &'static App = Box::leak(Box::new(configure()?));
    lambda_http::run(service_fn(move |request: Request| async move {
        let request_id = request.lambda_context().request_id;
        let is_head = *request.method() == Method::HEAD;
        let outcome = async move {
            request::refuse_unknown_query(&request, known_query)?;
            handler(app, request).await
        };
        let response = match catch(&request_id, outcome).await {
            Ok(response) => response,
            Err(error) => problem::response(&error, &request_id)?,
        };
        Ok::<_, lambda_http::Error>(Utf8(if is_head { response.map(|_| Body::Empty) } else { response }))
    }))
    .await
}

/// Makes an error of a panic, and logs the error that a request ends with.
async fn catch<T>(request_id: &str, outcome: impl Future<Output = Result<T>>) -> Result<T> {
    let outcome = AssertUnwindSafe(outcome).catch_unwind().await;
    let outcome = outcome.unwrap_or_else(|panic| Err(Error::internal(panic_message(panic.as_ref()))));
    outcome.inspect_err(|error| telemetry::log(error, request_id))
}

/// Passes a response on as UTF-8, which every `String` is. The conversion of `lambda_http` would link the tables of all
/// character sets: a tenth of a megabyte.
struct Utf8(Response<Body>);

impl IntoResponse for Utf8 {
    fn into_response(self) -> BoxFuture<'static, Response<Body>> {
        ready(self.0).boxed()
    }
}

/// Extracts the message of a panic.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    let message = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", message.unwrap_or("without a message"))
}
