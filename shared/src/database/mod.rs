//! Runs statements on Postgres over one connection for each execution environment, opened when first needed and
//! reopened when lost.
//!
//! A frozen environment loses its sockets without noticing. A connection that was idle for long is therefore tried
//! before it is used, and a statement whose connection turns out to be closed is retried once on a new one. Postgres
//! may have executed it already, so **every statement must be safe to run twice**: the function makes the ids, and a
//! statement that finds its own id changes nothing. A statement whose server became a read-only standby is retried in
//! the same way: a new connection leads to the new primary.
//!
//! A statement that takes too long is cancelled on the server and not retried. Its outcome is awaited, so that nothing
//! is stored after the caller was told that it failed. A statement that Postgres rolled back because of others (a
//! deadlock, a serialization failure) is retried a few times.
//!
//! Statements are sent with `query_typed`: one round trip and no prepared statement, so RDS Proxy and PgBouncer
//! multiplex them and concurrent statements of one environment pipeline on its connection.

mod parameter;
mod rows;
mod url;

#[cfg(test)]
mod tests;

use std::{pin::pin, sync::Arc, time::Duration};

use secrecy::ExposeSecret;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};
use tokio_postgres::{CancelToken, Client, Config, error::SqlState, types::ToSql};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::warn;

pub use parameter::Parameter;
pub use tokio_postgres::Row;

use crate::{
    config::{self, ConfigError},
    error::Source,
    telemetry::Chain,
    tls::{self, Roots},
};

/// Limits how long a connection may take to open, and a statement to return.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// Limits how long a cancelled statement may take to end.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(1);

/// Limits how often a statement that Postgres rolled back is retried, each time after a random pause, of up to this at
/// first and up to twice the last one's limit then.
const RETRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// How long a connection may be idle and still be used without a check, which takes at most [`CHECK_TIMEOUT`].
const IDLE: Duration = Duration::from_secs(30);
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// Says why a statement failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Postgres cannot be reached or does not respond in time.
    #[error("Postgres is unavailable")]
    Unavailable(#[source] Source),
    /// The statement met a unique key that another one stored meanwhile; nothing was written.
    #[error("a unique key is taken")]
    Duplicate(#[source] Source),
    /// The statement is wrong, or the schema is.
    #[error("the statement failed")]
    Failed(#[source] Source),
}

impl From<Error> for crate::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable(_) => Self::unavailable(error),
            Error::Duplicate(_) | Error::Failed(_) => Self::internal(error),
        }
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(code) = error.code() else {
            // Without a code, Postgres did not say it: the connection did.
            return Self::Unavailable(error.into());
        };
        // Class 08 is the connection, 40 a deadlock, 53 resources, 57 an operator
        // (https://www.postgresql.org/docs/18/errcodes-appendix.html).
        match code.code().get(..2) {
            Some("08" | "40" | "53" | "57") => Self::Unavailable(error.into()),
            _ if *code == SqlState::UNIQUE_VIOLATION => Self::Duplicate(error.into()),
            _ => Self::Failed(error.into()),
        }
    }
}

/// An attempt that failed, and where the statement may be retried.
struct Failure {
    error: Error,
    retry: Retry,
}

/// Says on which connection a statement may be retried.
#[derive(PartialEq)]
enum Retry {
    /// The old one is lost, or its server cannot write any more.
    NewConnection,
    /// Postgres rolled the statement back in favour of others, or cancelled it although nobody gave it up.
    SameConnection,
    /// The statement would fail again, or has used up its time.
    Never,
}

/// The database. A clone of it shares the connection.
#[derive(Clone)]
pub struct Database {
    config: Config,
    roots: Roots,
    statement_timeout: Duration,
    connection: Arc<Mutex<Option<Connection>>>,
}

struct Connection {
    client: Arc<Client>,
    used: Instant,
}

impl Database {
    /// Configures the database at `DATABASE_URL`, whose certificate `DATABASE_ROOTS` verify. Nothing is opened yet.
    ///
    /// # Errors
    /// When the URL is missing or not one of Postgres, or the roots are neither known ones nor certificates.
    pub fn from_env() -> Result<Self, ConfigError> {
        let url = config::secret("DATABASE_URL")?;
        let roots = config::or_default("DATABASE_ROOTS", "mozilla".to_owned())?;
        let roots = Roots::named(&roots);
        Ok(Self {
            roots: roots.map_err(|problem| ConfigError::malformed("DATABASE_ROOTS", problem))?,
            ..Self::at(url.expose_secret())?
        })
    }

    /// Configures the database at `MIGRATE_DATABASE_URL` or, without one, at `DATABASE_URL`. Migrations hold a lock of
    /// their session, which does not work through a pooler that shares sessions, so their URL can lead around it. The
    /// pooler and the database behind it may have certificates of different authorities: those of both are trusted.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn for_migrations() -> Result<Self, ConfigError> {
        match config::optional::<String>("MIGRATE_DATABASE_URL")? {
            Some(url) => Ok(Self { roots: Roots::All, ..Self::named("MIGRATE_DATABASE_URL", &url)? }),
            None => Self::from_env(),
        }
    }

    /// Configures the database at `url`. Nothing is opened yet.
    ///
    /// # Errors
    /// When it is not a Postgres URL.
    pub fn at(url: &str) -> Result<Self, ConfigError> {
        Self::named("DATABASE_URL", url)
    }

    /// Configures the database whose URL is in the variable `name`.
    fn named(name: &'static str, url: &str) -> Result<Self, ConfigError> {
        let mut config = url::parse(name, url)?;
        config.connect_timeout(CONNECT_TIMEOUT).tcp_user_timeout(STATEMENT_TIMEOUT);
        if config.get_application_name().is_none() {
            config.application_name("chat-backend");
        }
        Ok(Self { config, roots: Roots::Mozilla, statement_timeout: STATEMENT_TIMEOUT, connection: Arc::default() })
    }

    /// Copies the configuration, without the connection.
    #[must_use]
    pub fn another_connection(&self) -> Self {
        Self {
            config: self.config.clone(),
            roots: self.roots,
            statement_timeout: self.statement_timeout,
            connection: Arc::default(),
        }
    }

    /// Runs a statement and returns its rows. The statement must be safe to run twice (see the [module](self)).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn query(&self, sql: &str, parameters: &[&dyn Parameter]) -> Result<Vec<Row>, Error> {
        let start = Instant::now();
        let (mut lost, mut rolled_back) = (0, 0);
        loop {
            let Failure { error, retry } = match self.attempt(sql, parameters).await {
                Ok(rows) => return Ok(rows),
                Err(failure) => failure,
            };
            match retry {
                Retry::NewConnection if lost == 0 => {
                    lost += 1;
                    warn!(error = %Chain(&error), "the connection to Postgres was lost; trying a new one");
                }
                // A cancellation that came late was the server's own timeout.
                Retry::SameConnection if rolled_back < RETRIES && start.elapsed() < self.statement_timeout / 2 => {
                    warn!(error = %Chain(&error), "Postgres rolled a statement back; trying again");
                    sleep(pause(rolled_back)).await;
                    rolled_back += 1;
                }
                _ => return Err(error),
            }
        }
    }

    /// Runs a statement that returns at most one row.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn query_opt(&self, sql: &str, parameters: &[&dyn Parameter]) -> Result<Option<Row>, Error> {
        Ok(self.query(sql, parameters).await?.into_iter().next())
    }

    /// Runs a statement that always returns a row.
    ///
    /// # Errors
    /// See [`Error`]; also when there was no row.
    pub async fn query_one(&self, sql: &str, parameters: &[&dyn Parameter]) -> Result<Row, Error> {
        let row = self.query_opt(sql, parameters).await?;
        row.ok_or_else(|| Error::Failed("the statement returned no row".into()))
    }

    async fn attempt(&self, sql: &str, parameters: &[&dyn Parameter]) -> Result<Vec<Row>, Failure> {
        let never = |error| Failure { error, retry: Retry::Never };
        let client = self.client().await.map_err(never)?;
        let typed: Vec<(&(dyn ToSql + Sync), _)> =
            parameters.iter().map(|parameter| (*parameter as _, parameter.sql_type())).collect();
        let mut statement = pin!(client.query_typed(sql, &typed));
        if let Ok(outcome) = timeout(self.statement_timeout, &mut statement).await {
            let failure = match outcome {
                Ok(rows) => return Ok(rows),
                Err(error) => failure(error, client.is_closed()),
            };
            if failure.retry == Retry::NewConnection {
                self.forget(&client).await;
                // The server may not know that the connection is lost and still wait for a lock.
                tokio::spawn(cancel(client.cancel_token(), self.roots));
            }
            return Err(failure);
        }
        cancel(client.cancel_token(), self.roots).await;
        match timeout(CANCEL_TIMEOUT, statement).await {
            // It ended just before.
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(never(error.into())),
            Err(elapsed) => {
                self.forget(&client).await;
                Err(never(Error::Unavailable(elapsed.into())))
            }
        }
    }

    /// Leaves a lost connection to the statements that still wait on it. The next statement opens a new one.
    async fn forget(&self, client: &Arc<Client>) {
        let mut connection = self.connection.lock().await;
        if connection.as_ref().is_some_and(|open| Arc::ptr_eq(&open.client, client)) {
            *connection = None;
        }
    }

    /// Returns the open connection, or a new one when there is none that works.
    async fn client(&self) -> Result<Arc<Client>, Error> {
        let mut connection = self.connection.lock().await;
        if let Some(open) = connection.as_mut() {
            let idle = open.used.elapsed() > IDLE;
            if !open.client.is_closed() && (!idle || responds(&open.client).await) {
                open.used = Instant::now();
                return Ok(Arc::clone(&open.client));
            }
        }
        let client = Arc::new(self.connect().await?);
        *connection = Some(Connection { client: Arc::clone(&client), used: Instant::now() });
        Ok(client)
    }

    async fn connect(&self) -> Result<Client, Error> {
        let tls = tls::client(self.roots).map_err(|error| Error::Failed(error.into()))?;
        let connecting = self.config.connect(MakeRustlsConnect::new(tls));
        let (client, connection) = timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|elapsed| Error::Unavailable(elapsed.into()))?
            .map_err(|error| Error::Unavailable(error.into()))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                warn!(error = %Chain(&error), "the connection to Postgres ended");
            }
        });
        Ok(client)
    }
}

fn failure(error: tokio_postgres::Error, closed: bool) -> Failure {
    let retry = match error.code() {
        _ if closed => Retry::NewConnection,
        Some(code) if *code == SqlState::READ_ONLY_SQL_TRANSACTION => Retry::NewConnection,
        // A cancellation reaches whatever the connection executes by then. It may have been meant for the statement
        // before, which ended meanwhile.
        Some(code) if *code == SqlState::QUERY_CANCELED || code.code().starts_with("40") => Retry::SameConnection,
        _ => Retry::Never,
    };
    Failure { error: error.into(), retry }
}

/// Asks the server to end the statement that a connection executes. A server that cannot be reached executes none.
async fn cancel(token: CancelToken, roots: Roots) {
    let Ok(tls) = tls::client(roots) else { return };
    let cancelling = token.cancel_query(MakeRustlsConnect::new(tls));
    match timeout(CANCEL_TIMEOUT, cancelling).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(error = %Chain(&error), "a statement was not cancelled"),
        Err(error) => warn!(error = %Chain(&error), "a statement was not cancelled"),
    }
}

/// Returns a random pause, so that statements that collided do not collide again.
fn pause(retry: u32) -> Duration {
    let random = getrandom::u32().map_or(0.5, |n| f64::from(n) / f64::from(u32::MAX));
    (FIRST_PAUSE * 2_u32.pow(retry)).mul_f64(random)
}

async fn responds(client: &Client) -> bool {
    matches!(timeout(CHECK_TIMEOUT, client.check_connection()).await, Ok(Ok(())))
}

mod embedded {
    //! The migrations, compiled in.

    refinery::embed_migrations!("migrations");
}

/// Returns the number of the newest migration.
#[must_use]
pub fn schema_version() -> i32 {
    let migrations = embedded::migrations::runner();
    let versions = migrations.get_migrations().iter().map(refinery::Migration::version);
    versions.max().unwrap_or_default()
}

/// Brings the schema of `database` up to date and returns how many migrations that took. Callers at the same time wait
/// for each other, and what was applied before is left alone. So is a schema that is newer than this code: a deploy
/// that is rolled back runs the older code on it, and migrations only add.
///
/// # Errors
/// When Postgres is unavailable, or a migration fails; a failed one leaves no trace.
pub async fn migrate(database: &Database) -> Result<usize, Source> {
    /// Any number will do, as long as nothing else in this database locks it.
    const LOCK: &str = "select pg_advisory_lock(20261122)";
    /// A change of a table waits for the statements before it, and all later ones wait for the change: for no longer
    /// than this. It comes after the lock, which may take as long as another's migrations.
    const PATIENCE: &str = "set lock_timeout = '5s'";

    let mut client = database.connect().await?;
    // The lock ends with the connection.
    client.batch_execute(LOCK).await?;
    client.batch_execute(PATIENCE).await?;
    let report = embedded::migrations::runner().set_abort_missing(false).run_async(&mut client).await?;
    Ok(report.applied_migrations().len())
}
