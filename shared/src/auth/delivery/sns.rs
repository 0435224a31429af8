//! Sends SMS through Amazon SNS.

use std::{sync::OnceLock, time::Duration};

use aws_sdk_sns::{
    Client, Config,
    config::{Region, timeout::TimeoutConfig},
    types::MessageAttributeValue,
};
use secrecy::{ExposeSecret, SecretString};
use tracing::warn;

use crate::{
    Error, Result,
    aws::{self, Aws},
    config::{self, ConfigError},
    domain::Mobile,
};

/// The timeout of one attempt, which leaves time for a second.
const ATTEMPT: Duration = Duration::from_millis(700);

/// The placeholder of the code in `OTP_TEXT`.
const PLACEHOLDER: &str = "{code}";

const TEXT: &str = "Your code is {code}. It works for 5 minutes. Nobody from us will ever ask you for it.";

pub(super) struct Sns {
    aws: Aws,
    text: String,
    /// Message attributes: name, type and value.
    attributes: Vec<(&'static str, &'static str, String)>,
    client: OnceLock<Client>,
}

impl Sns {
    pub fn from_env() -> Result<Self, ConfigError> {
        let text = config::or_default("OTP_TEXT", TEXT.to_owned())?;
        if !text.contains(PLACEHOLDER) {
            return Err(ConfigError::malformed("OTP_TEXT", "it has no place for the {code}"));
        }
        // A message that matters, rather than an advertisement.
        let mut attributes = vec![("AWS.SNS.SMS.SMSType", "String", "Transactional".to_owned())];
        for (variable, attribute) in [
            ("OTP_SENDER_ID", "AWS.SNS.SMS.SenderID"),
            ("OTP_ORIGINATION_NUMBER", "AWS.MM.SMS.OriginationNumber"),
            ("OTP_ENTITY_ID", "AWS.MM.SMS.EntityId"),
            ("OTP_TEMPLATE_ID", "AWS.MM.SMS.TemplateId"),
        ] {
            attributes.extend(config::optional(variable)?.map(|value| (attribute, "String", value)));
        }
        let price = config::optional::<f64>("OTP_MAX_PRICE")?;
        attributes.extend(price.map(|price| ("AWS.SNS.SMS.MaxPrice", "Number", price.to_string())));
        let mut aws = Aws::from_env()?;
        if let Some(region) = config::optional::<String>("OTP_REGION")? {
            aws.region = Region::new(region);
        }
        Ok(Self { aws, text, attributes, client: OnceLock::new() })
    }

    /// Sends `code`. A number that can get no SMS, or wants none, is no error: another attempt would not help.
    pub async fn publish(&self, mobile: &Mobile, code: &SecretString) -> Result<()> {
        let mut request = self
            .client()
            .publish()
            .phone_number(mobile.as_str())
            .message(self.text.replace(PLACEHOLDER, code.expose_secret()));
        for (name, kind, value) in &self.attributes {
            let value = MessageAttributeValue::builder().data_type(*kind).string_value(value).build();
            request = request.message_attributes(*name, value.map_err(Error::internal)?);
        }
        match request.send().await.map_err(aws_sdk_sns::Error::from) {
            Ok(_) => Ok(()),
            Err(
                aws_sdk_sns::Error::InvalidParameterException(_)
                | aws_sdk_sns::Error::InvalidParameterValueException(_),
            ) => {
                // The message names the number.
                warn!("SNS takes no SMS for this number, or has opted it out");
                Ok(())
            }
            Err(error) => Err(Error::unavailable(error)),
        }
    }

    fn client(&self) -> &Client {
        self.client.get_or_init(|| {
            let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).build();
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

#[cfg(test)]
mod tests {
    //! Tests which refusals of SNS are errors. MiniStack refuses nothing, so SNS is played by a socket.

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Sends a code to an SNS that refuses it.
    async fn refused(status: u16, code: &str) -> Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let body = format!(
            "<ErrorResponse><Error>
             <Code>{code}</Code><Message>PhoneNumber Reason: +15550109999 is opted out</Message>
             </Error></ErrorResponse>"
        );
        let length = body.len();
        let response =
            format!("HTTP/1.1 {status} Refused\r\ncontent-type: text/xml\r\ncontent-length: {length}\r\n\r\n{body}");
        let refuse = async {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 8 << 10];
            assert!(connection.read(&mut request).await.unwrap() > 0);
            connection.write_all(response.as_bytes()).await.unwrap();
        };
        let sns = Sns {
            aws: Aws { endpoint: Some(endpoint), ..Aws::from_env().unwrap() },
            text: TEXT.into(),
            attributes: Vec::new(),
            client: OnceLock::new(),
        };
        let mobile = Mobile::try_from("+15550109999".to_owned()).unwrap();
        let code = SecretString::from("123456".to_owned());
        let (published, ()) = tokio::join!(sns.publish(&mobile, &code), refuse);
        published
    }

    #[tokio::test]
    async fn a_number_that_has_opted_out_is_no_error_and_any_other_refusal_is_one() {
        for code in ["InvalidParameter", "ParameterValueInvalid"] {
            refused(400, code).await.unwrap();
        }
        for (status, code) in [(403, "AuthorizationError"), (400, "EndpointDisabled")] {
            let outcome = refused(status, code).await;
            assert!(matches!(outcome, Err(Error::Unavailable(_))), "{code}: {outcome:?}");
        }
    }
}
