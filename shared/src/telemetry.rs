//! Writes logs: one JSON object a line, which CloudWatch can query by field.
//!
//! An error is logged in the field `error`, as a [`Chain`]: its own message and every cause behind it. No code, token,
//! password or message text is ever a field.

use std::{error::Error as StdError, fmt};

use tokio_postgres::error::DbError;
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{fmt::MakeWriter, util::SubscriberInitExt};

use crate::Error;

/// Starts logging, at the level Lambda's logging configuration asks for (`AWS_LAMBDA_LOG_LEVEL`, otherwise `INFO`).
/// `TRACE` is left out of release builds.
pub fn init() {
    let level =
        std::env::var("AWS_LAMBDA_LOG_LEVEL").ok().and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO);
    subscriber(level, std::io::stdout).init();
}

/// Builds the subscriber that writes events as lines of JSON.
fn subscriber<Writer>(level: LevelFilter, writer: Writer) -> impl Subscriber + Send + Sync
where
    Writer: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_target(false)
        .with_max_level(level)
        .with_writer(writer)
        .finish()
}

/// Logs a request's error: at level `ERROR` when the fault is ours, at `INFO` when it is the caller's.
pub fn log(error: &Error, request_id: &str) {
    match error {
        Error::Unavailable(_) | Error::Internal(_) => {
            tracing::error!(request_id, error = %Chain(error), "the request failed");
        }
        _ => tracing::info!(request_id, error = %Chain(error), "the request was refused"),
    }
}

/// Displays an error and its causes, outermost first: `Postgres is unavailable: connection refused`.
///
/// This is how every error is logged: `error = %Chain(&error)`, or `Chain(&*error)` for a boxed one. Its
/// `Display` alone would hide the causes; its `Debug` may show what must not be logged.
pub struct Chain<'a>(pub &'a (dyn StdError + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut next = Some(self.0);
        while let Some(error) = next {
            formatter.write_str(separator)?;
            match error.downcast_ref::<DbError>() {
                // Its `Display` appends the detail, which quotes values of the row: numbers, messages, hashes.
                Some(error) => write!(formatter, "{}: {}", error.severity(), error.message())?,
                None => write!(formatter, "{error}")?,
            }
            separator = ": ";
            next = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    //! A line of the log has an error's causes and none of its secrets.

    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use serde_json::Value;

    use super::*;
    use crate::{database::Database, testing};

    /// Returns the line that [`log`] writes.
    fn line(error: &Error) -> Value {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(LevelFilter::INFO, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || log(error, "request"));
        serde_json::from_slice(&lines.0.lock().unwrap()).unwrap()
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_line_names_every_cause_and_no_password() {
        // Nothing listens on port 1.
        let database = Database::at("postgres://user:hunter2@127.0.0.1:1/database").unwrap();
        let error = Error::from(database.query("select 1", &[]).await.unwrap_err());
        let line = line(&error);
        assert_eq!((&line["level"], &line["request_id"]), (&"ERROR".into(), &"request".into()));
        let text = line["error"].as_str().unwrap();
        for cause in ["temporarily unable", "Postgres is unavailable", "Connection refused"] {
            assert!(text.contains(cause), "{text}");
        }
        assert!(!line.to_string().contains("hunter2"), "{line}");
    }

    #[tokio::test]
    async fn a_line_says_which_rule_a_row_broke_without_quoting_the_row() {
        let database = testing::database().await;
        testing::user(&database).await;
        let taken = "insert into users (id, mobile) select gen_random_uuid(), mobile from users returning mobile";
        let error = Error::from(database.query(taken, &[]).await.unwrap_err());
        let line = line(&error);
        let text = line["error"].as_str().unwrap();
        assert!(text.contains("duplicate key value violates"), "{text}");
        // The test users' numbers are `+` and an id; Postgres's detail would be `Key (mobile)=(+…) already exists`.
        assert!(!text.contains('+'), "{text}");
    }
}
