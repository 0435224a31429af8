//! Connects to Redis when first needed, and again when the connection is lost.
//!
//! A command or script that failed with its connection is sent once more on a new one. It may then run twice; every
//! script says why that is safe.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, ScriptInvocation,
    aio::MultiplexedConnection,
};
use secrecy::ExposeSecret;
use tokio::sync::Mutex;

use crate::config::{self, ConfigError};

const TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) struct Redis {
    client: Client,
    config: AsyncConnectionConfig,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Redis {
    /// Configures the server at `REDIS_URL`; `rediss://` means TLS. A command may block for `patience`. No connection
    /// is opened yet.
    ///
    /// # Errors
    /// When the variable is missing or no Redis URL.
    pub fn from_env(patience: Duration) -> Result<Self, ConfigError> {
        const NAME: &str = "REDIS_URL";
        let url = config::secret(NAME)?;
        let client = Client::open(url.expose_secret())
            .map_err(|error| ConfigError::malformed(NAME, error.category()))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(patience + TIMEOUT));
        Ok(Self {
            client,
            config,
            connection: Mutex::default(),
        })
    }

    /// Runs a script, twice if the connection is lost.
    ///
    /// # Errors
    /// When Redis cannot be reached, or the script fails.
    pub async fn run<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, RedisError> {
        match script.invoke_async(&mut self.connection().await?).await {
            Err(error) if lost(&error) => {
                self.forget_connection().await;
                script.invoke_async(&mut self.connection().await?).await
            }
            outcome => outcome,
        }
    }

    /// Runs a command, twice if the connection is lost.
    ///
    /// # Errors
    /// When Redis cannot be reached, or the command fails.
    pub async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        match command.query_async(&mut self.connection().await?).await {
            Err(error) if lost(&error) => {
                self.forget_connection().await;
                command.query_async(&mut self.connection().await?).await
            }
            outcome => outcome,
        }
    }

    async fn forget_connection(&self) {
        *self.connection.lock().await = None;
    }

    /// Returns the open connection, or opens one. Clones share it.
    async fn connection(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut open = self.connection.lock().await;
        if let Some(connection) = open.as_ref() {
            return Ok(connection.clone());
        }
        let opening = self
            .client
            .get_multiplexed_async_connection_with_config(&self.config);
        let connection = opening.await?;
        *open = Some(connection.clone());
        Ok(connection)
    }
}

/// Tells whether the connection is of no more use.
fn lost(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.is_timeout()
}
