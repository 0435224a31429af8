//! Connects to Redis when first needed, and again when the connection is lost.
//!
//! A command or script that failed with its connection is sent once more on a new one. It may then run twice; every
//! script says why that is safe.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, RedisError, ScriptInvocation, ServerErrorKind,
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
        let client =
            Client::open(url.expose_secret()).map_err(|error| ConfigError::malformed(NAME, error.category()))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(patience + TIMEOUT));
        Ok(Self { client, config, connection: Mutex::default() })
    }

    /// Runs a script, twice if the connection is lost.
    ///
    /// # Errors
    /// When Redis cannot be reached, or the script fails.
    pub async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, RedisError> {
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
        let opening = self.client.get_multiplexed_async_connection_with_config(&self.config);
        let connection = opening.await?;
        *open = Some(connection.clone());
        Ok(connection)
    }
}

/// Returns whether the connection is useless, so that a new one may help.
fn lost(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.is_timeout() || is_replica(error)
}

/// Returns whether a failover has demoted the server to a replica. A new connection leads to the new primary.
fn is_replica(error: &RedisError) -> bool {
    let kinds = [ServerErrorKind::ReadOnly, ServerErrorKind::MasterDown];
    if kinds.iter().any(|kind| error.kind() == ErrorKind::Server(*kind)) {
        return true;
    }
    // Before Redis 7, a script's error hides the code of its command's.
    let text = error.detail().unwrap_or_default();
    text.contains("-READONLY") || text.contains("-MASTERDOWN")
}

#[cfg(test)]
mod tests {
    //! Tests a connection after a failover.

    use std::{
        io::{BufRead, BufReader, Write},
        net::{TcpListener, TcpStream},
        thread,
    };

    use redis::cmd;

    use super::*;

    /// Starts a server that gives each connection one of `responses`, in their order.
    fn server(responses: [&'static str; 2]) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for response in responses {
                let (stream, _) = listener.accept().unwrap();
                // The connection before may still be open.
                thread::spawn(move || serve(stream, response));
            }
        });
        Client::open(url).unwrap()
    }

    /// Gives every command the same response, except those that set up the connection.
    fn serve(mut stream: TcpStream, response: &str) {
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        // A command is an array, whose first element is its name after its length.
        while lines.any(|line| line.starts_with('*')) {
            let name = lines.nth(1).unwrap_or_default();
            let set_up = name.eq_ignore_ascii_case("client");
            write!(stream, "{}\r\n", if set_up { "+OK" } else { response }).unwrap();
        }
    }

    #[tokio::test]
    async fn a_server_that_became_a_replica_is_left_for_the_new_primary() {
        for refusal in [
            "-READONLY You can't write against a read only replica.",
            "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "-ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write against a replica",
        ] {
            let redis = Redis {
                client: server([refusal, "+stored"]),
                config: AsyncConnectionConfig::new(),
                connection: Mutex::default(),
            };
            let mut set = cmd("SET");
            let response: String = redis.command(set.arg("key").arg("value")).await.unwrap();
            assert_eq!(response, "stored", "{refusal}");
        }
    }
}
