//! Wake-ups over an SQS standard queue.
//!
//! The message group is the user: on a standard queue that asks for fairness, so that one user's backlog does not
//! delay the others. Order does not come from here.

use std::{sync::OnceLock, time::Duration};

use aws_sdk_sqs::{Client, Config, config::retry::RetryConfig, config::timeout::TimeoutConfig};

use super::WakeUp;
use crate::{
    aws::{self, Aws},
    config::{self, ConfigError},
    domain::UserId,
    error::Source,
};

/// A wake-up is not worth more of a request's time than this: the sweep makes up for it.
const TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct Sqs {
    aws: Aws,
    queue_url: String,
    client: OnceLock<Client>,
}

impl Sqs {
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            aws: Aws::from_env()?,
            queue_url: config::required("QUEUE_URL")?,
            client: OnceLock::new(),
        })
    }

    pub async fn send(
        &self,
        wake_up: &WakeUp,
        user: UserId,
        delay: Duration,
    ) -> Result<(), Source> {
        self.client()
            .send_message()
            .queue_url(&self.queue_url)
            .message_body(serde_json::to_string(wake_up)?)
            .message_group_id(user.to_string())
            .delay_seconds(i32::try_from(delay.as_secs())?)
            .send()
            .await
            .map_err(aws_sdk_sqs::Error::from)?;
        Ok(())
    }

    fn client(&self) -> &Client {
        self.client.get_or_init(|| {
            let timeouts = TimeoutConfig::builder().operation_timeout(TIMEOUT).build();
            let mut config = Config::builder()
                .region(self.aws.region.clone())
                .credentials_provider(self.aws.credentials.clone())
                .http_client(aws::http_client())
                .timeout_config(timeouts)
                .retry_config(RetryConfig::standard().with_max_attempts(2));
            config.set_endpoint_url(self.aws.endpoint.clone());
            Client::from_conf(config.build())
        })
    }
}
