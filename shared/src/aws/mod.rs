//! Reads what every AWS client is built from: the variables that Lambda sets. [`http_client`] is the one HTTP stack.
//!
//! `aws-config`'s default chain would bring a second TLS stack and three times the init time; a function needs none
//! of its providers.

mod http;

use std::time::Duration;

use aws_sdk_sqs::config::{Credentials, Region, timeout::TimeoutConfig};

pub(crate) use http::client as http_client;

use crate::config::{self, ConfigError};

/// Limits an operation to this time, and each of its attempts to half of it: when an attempt meets a connection that
/// died while the environment was frozen, the other half is left for a retry on a new one.
pub(crate) fn timeouts(operation: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().operation_timeout(operation).operation_attempt_timeout(operation / 2).build()
}

/// Holds the region, credentials and endpoint from Lambda's environment.
#[derive(Clone)]
pub(crate) struct Aws {
    pub region: Region,
    pub credentials: Credentials,
    /// `AWS_ENDPOINT_URL`: the services' address when it is not Amazon's.
    pub endpoint: Option<String>,
}

impl Aws {
    /// Reads them.
    ///
    /// # Errors
    /// When a variable that Lambda always sets is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            region: Region::new(config::required::<String>("AWS_REGION")?),
            credentials: Credentials::new(
                config::required::<String>("AWS_ACCESS_KEY_ID")?,
                config::required::<String>("AWS_SECRET_ACCESS_KEY")?,
                config::optional("AWS_SESSION_TOKEN")?,
                None,
                "lambda",
            ),
            endpoint: config::optional("AWS_ENDPOINT_URL")?,
        })
    }
}
