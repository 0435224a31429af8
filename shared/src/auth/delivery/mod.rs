//! Delivers codes: by SMS, or in the response where there is no phone to send to.

mod sns;

use std::time::Duration;

use secrecy::SecretString;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::error;

use crate::{
    Result,
    config::{self, ConfigError, Stage},
    domain::Mobile,
    telemetry::Chain,
};

/// How long a delivery by SMS takes, whether SNS is quick, slow, down or not asked: its time tells nobody which.
const SMS_DURATION: Duration = Duration::from_millis(1_500);

/// Delivers through the channel that `OTP_DELIVERY` names.
pub(super) struct Delivery(Channel);

enum Channel {
    Response,
    Sms(sns::Sns),
}

/// Lists the values of `OTP_DELIVERY`.
#[derive(Clone, Copy)]
enum Choice {
    Response,
    Sns,
}

impl Delivery {
    /// Reads `STAGE`, `OTP_DELIVERY`, and for SMS those of SNS.
    ///
    /// # Errors
    /// When a variable is missing or malformed, or codes would be shown to everybody.
    pub fn from_env() -> Result<Self, ConfigError> {
        const NAME: &str = "OTP_DELIVERY";
        let stage = Stage::from_env()?;
        let choices = [("response", Choice::Response), ("sns", Choice::Sns)];
        let choice = config::choice(NAME, &choices)?;
        Ok(Self(match choice.ok_or_else(|| ConfigError::missing(NAME))? {
            Choice::Response if !matches!(stage, Stage::Local | Stage::Demo) => {
                let problem = "response shows every code to whoever asks, for the stages local and demo; use sns";
                return Err(ConfigError::malformed(NAME, problem));
            }
            Choice::Response => Channel::Response,
            Choice::Sns => Channel::Sms(sns::Sns::from_env()?),
        }))
    }

    /// Delivers `code` to a recipient, if there is one, and returns whether it may be shown in the response. The time
    /// counts from `since`, before it was known whether there is one. An SMS that cannot be sent in time is logged and
    /// does not change the response: whoever waits for it asks for another.
    pub async fn deliver(&self, recipient: Option<&Mobile>, code: &SecretString, since: Instant) -> bool {
        let Channel::Sms(sns) = &self.0 else {
            return true;
        };
        let respond_at = since + SMS_DURATION;
        if let Some(mobile) = recipient {
            // The alarm counts lines with this metric.
            match timeout_at(respond_at, sns.publish(mobile, code)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => error!(metric = "sms_failed", error = %Chain(&error), "no SMS"),
                Err(late) => error!(metric = "sms_failed", error = %Chain(&late), "no SMS"),
            }
        }
        sleep_until(respond_at).await;
        false
    }
}
