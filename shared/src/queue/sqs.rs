//! Carries wake-ups over an SQS standard queue.
//!
//! The message group is the user: on a standard queue that asks for fairness, so that one user's backlog does not
//! delay the others. Order does not come from here.

use std::{sync::OnceLock, time::Duration};

use aws_sdk_sqs::{
    Client, Config,
    config::{retry::RetryConfig, timeout::TimeoutConfig},
    types::SendMessageBatchRequestEntry,
};

use super::{Delivery, WakeUp};
use crate::{
    aws::{self, Aws},
    config::{self, ConfigError},
    error::Source,
};

/// Limits how long a request waits for its wake-up to be sent. The sweep makes up for one that was not.
const TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct Sqs {
    aws: Aws,
    queue_url: String,
    client: OnceLock<Client>,
}

impl Sqs {
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self { aws: Aws::from_env()?, queue_url: config::required("QUEUE_URL")?, client: OnceLock::new() })
    }

    pub async fn send(&self, wake_up: &WakeUp, delay: Duration) -> Result<(), Source> {
        self.client()
            .send_message()
            .queue_url(&self.queue_url)
            .message_body(serde_json::to_string(wake_up)?)
            .message_group_id(wake_up.user_id.to_string())
            .delay_seconds(whole_seconds(delay)?)
            .send()
            .await
            .map_err(aws_sdk_sqs::Error::from)?;
        Ok(())
    }

    /// Sends up to ten wake-ups and returns those that the queue took.
    pub async fn send_batch(&self, wake_ups: &[WakeUp]) -> Result<Vec<WakeUp>, Source> {
        let entry = |(number, wake_up): (usize, &WakeUp)| -> Result<_, Source> {
            let entry = SendMessageBatchRequestEntry::builder()
                .id(number.to_string())
                .message_body(serde_json::to_string(wake_up)?)
                .message_group_id(wake_up.user_id.to_string());
            Ok(entry.build()?)
        };
        let entries: Result<_, _> = wake_ups.iter().enumerate().map(entry).collect();
        let response = self
            .client()
            .send_message_batch()
            .queue_url(&self.queue_url)
            .set_entries(Some(entries?))
            .send()
            .await
            .map_err(aws_sdk_sqs::Error::from)?;
        let sent = response.successful().iter();
        let sent = sent.filter_map(|entry| wake_ups.get(entry.id().parse::<usize>().ok()?));
        Ok(sent.copied().collect())
    }

    pub async fn receive(&self, max: usize, patience: Duration) -> Result<Vec<Delivery>, Source> {
        let long_poll = TimeoutConfig::builder()
            .operation_timeout(patience + TIMEOUT)
            .operation_attempt_timeout(patience + TIMEOUT)
            .build();
        let response = self
            .client()
            .receive_message()
            .queue_url(&self.queue_url)
            .max_number_of_messages(i32::try_from(max)?)
            .wait_time_seconds(i32::try_from(patience.as_secs())?)
            .customize()
            .config_override(Config::builder().timeout_config(long_poll))
            .send()
            .await
            .map_err(aws_sdk_sqs::Error::from)?;
        let messages = response.messages.unwrap_or_default().into_iter();
        let deliveries = messages.map(|message| Delivery {
            body: message.body.unwrap_or_default(),
            handle: message.receipt_handle.unwrap_or_default(),
        });
        Ok(deliveries.collect())
    }

    pub async fn acknowledge(&self, delivery: &Delivery) -> Result<(), Source> {
        self.client()
            .delete_message()
            .queue_url(&self.queue_url)
            .receipt_handle(&delivery.handle)
            .send()
            .await
            .map_err(aws_sdk_sqs::Error::from)?;
        Ok(())
    }

    fn client(&self) -> &Client {
        self.client.get_or_init(|| {
            let mut config = Config::builder()
                .region(self.aws.region.clone())
                .credentials_provider(self.aws.credentials.clone())
                .http_client(aws::http_client())
                .timeout_config(aws::timeouts(TIMEOUT))
                .retry_config(RetryConfig::standard().with_max_attempts(2));
            config.set_endpoint_url(self.aws.endpoint.clone());
            Client::from_conf(config.build())
        })
    }
}

/// Rounds a delay up, so that a wake-up never comes before its message is due.
fn whole_seconds(delay: Duration) -> Result<i32, Source> {
    let started = u64::from(delay.subsec_nanos() > 0);
    Ok(i32::try_from(delay.as_secs() + started)?)
}
