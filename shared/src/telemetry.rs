//! Logs: one JSON object a line, as CloudWatch reads them best. Nothing secret is ever a field.

use std::error::Error as _;

use tracing::level_filters::LevelFilter;

use crate::Error;

/// Starts logging, at the level Lambda's logging configuration asks for (`AWS_LAMBDA_LOG_LEVEL`, otherwise `INFO`).
/// `TRACE` is left out of release builds.
pub fn init() {
    let level = std::env::var("AWS_LAMBDA_LOG_LEVEL")
        .ok()
        .and_then(|level| level.parse().ok())
        .unwrap_or(LevelFilter::INFO);
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_target(false)
        .with_max_level(level)
        .init();
}

/// Logs why a request failed: as an error when it is ours, as information when it is the caller's.
pub fn log(error: &Error, request_id: &str) {
    let causes = causes(error);
    match error {
        Error::Unavailable(_) | Error::Internal(_) => {
            tracing::error!(request_id, causes, "{error}");
        }
        _ => tracing::info!(request_id, "{error}"),
    }
}

fn causes(error: &Error) -> String {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes.join(": ")
}
