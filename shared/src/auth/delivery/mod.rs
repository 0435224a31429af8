//! How a code reaches its owner: by SMS, or in the response where there is no phone to send to.

mod sns;

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::codes;
use crate::{
    Result,
    config::{self, ConfigError},
    domain::Mobile,
};

/// How long a delivery by SMS takes at least, so that the answer for a number without an account, to which nothing is
/// sent, does not come sooner.
const SMS_DURATION: Duration = Duration::from_millis(400);

/// The channel that `OTP_DELIVERY` names.
pub struct Delivery(Channel);

enum Channel {
    Response,
    Sms(sns::Sns),
}

/// The values of `OTP_DELIVERY`.
#[derive(Clone, Copy)]
enum Choice {
    Response,
    Sns,
}

/// The answer to whoever asked for a code.
#[derive(Serialize)]
pub struct CodeSent {
    expires_in: u64,
    resend_after: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    otp: Option<String>,
}

impl Delivery {
    /// The channel that the environment describes.
    ///
    /// # Errors
    /// When a variable is missing or malformed, or codes would be shown in responses in production.
    pub fn from_env() -> Result<Self, ConfigError> {
        const NAME: &str = "OTP_DELIVERY";
        let stage: String = config::required("STAGE")?;
        let choices = [("response", Choice::Response), ("sns", Choice::Sns)];
        let choice = config::choice(NAME, &choices)?;
        Ok(Self(
            match choice.ok_or_else(|| ConfigError::missing(NAME))? {
                Choice::Response if stage == "production" => {
                    let problem =
                        "response would show every code to whoever asks; production needs sns";
                    return Err(ConfigError::malformed(NAME, problem));
                }
                Choice::Response => Channel::Response,
                Choice::Sns => Channel::Sms(sns::Sns::from_env()?),
            },
        ))
    }

    /// Delivers `code` to `mobile`. When the number has no account nothing is sent, and the answer is the same, after
    /// about the same time; in the response mode that means a code which will not work.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) when the code cannot be sent.
    pub async fn deliver(
        &self,
        mobile: &Mobile,
        has_account: bool,
        code: &SecretString,
    ) -> Result<CodeSent> {
        let code = code.expose_secret();
        let otp = match &self.0 {
            Channel::Response => Some(code.to_owned()),
            Channel::Sms(sns) => {
                let answer_at = Instant::now() + SMS_DURATION;
                if has_account {
                    sns.publish(mobile, &text(code)).await?;
                }
                sleep_until(answer_at).await;
                None
            }
        };
        Ok(CodeSent {
            expires_in: codes::LIFETIME.as_secs(),
            resend_after: codes::RESEND_AFTER.as_secs(),
            otp,
        })
    }
}

fn text(code: &str) -> String {
    let minutes = codes::LIFETIME.as_secs() / 60;
    format!(
        "Your code is {code}. It works for {minutes} minutes. Nobody from us will ever ask you for it."
    )
}
