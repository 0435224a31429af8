//! SMS through Amazon SNS.

use std::{sync::OnceLock, time::Duration};

use aws_sdk_sns::{Client, Config, config::timeout::TimeoutConfig, types::MessageAttributeValue};

use crate::{
    Error, Result,
    aws::{self, Aws},
    config::{self, ConfigError},
    domain::Mobile,
};

const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Sns {
    aws: Aws,
    sender_id: Option<String>,
    client: OnceLock<Client>,
}

impl Sns {
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            aws: Aws::from_env()?,
            sender_id: config::optional("OTP_SENDER_ID")?,
            client: OnceLock::new(),
        })
    }

    /// Sends `text`, as a message that matters (`Transactional`) rather than an advertisement.
    pub async fn publish(&self, mobile: &Mobile, text: &str) -> Result<()> {
        let mut request = self
            .client()
            .publish()
            .phone_number(mobile.as_str())
            .message(text)
            .message_attributes("AWS.SNS.SMS.SMSType", string("Transactional")?);
        if let Some(sender_id) = &self.sender_id {
            request = request.message_attributes("AWS.SNS.SMS.SenderID", string(sender_id)?);
        }
        let answer = request.send().await;
        answer.map_err(|error| Error::unavailable(aws_sdk_sns::Error::from(error)))?;
        Ok(())
    }

    fn client(&self) -> &Client {
        self.client.get_or_init(|| {
            let timeouts = TimeoutConfig::builder().operation_timeout(TIMEOUT).build();
            let mut config = Config::builder()
                .region(self.aws.region.clone())
                .credentials_provider(self.aws.credentials.clone())
                .http_client(aws::http_client())
                .timeout_config(timeouts);
            config.set_endpoint_url(self.aws.endpoint.clone());
            Client::from_conf(config.build())
        })
    }
}

fn string(value: &str) -> Result<MessageAttributeValue> {
    let attribute = MessageAttributeValue::builder()
        .data_type("String")
        .string_value(value);
    attribute.build().map_err(Error::internal)
}
