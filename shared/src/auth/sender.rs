//! Sends codes for signing up, signing in, setting a new password and confirming, all in the same way.
//!
//! The response must not tell who has an account. So a number without one takes the same steps and the same time, and
//! gets a challenge too; only no SMS is sent. Nor is one sent when the cap on SMS to customers is reached: a 429
//! would tell that this number is a customer's.

use lambda_http::Request;
use secrecy::ExposeSecret;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    codes::{self, Challenge, CodeIssuer, Issued, NewAccount, Purpose, Sms},
    delivery::Delivery,
};
use crate::{Error, Result, config::ConfigError, database::Database, domain::Mobile};

/// Sends codes.
pub struct CodeSender {
    codes: CodeIssuer,
    database: Database,
    delivery: Delivery,
}

/// Lists why a code is asked for.
pub enum Reason {
    /// To open an account, or to sign in where there is one.
    SignUp(NewAccount),
    /// To do something with an account.
    Known(Purpose),
}

/// Responds to a request for a code.
#[derive(Serialize)]
pub struct CodeSent {
    challenge: Challenge,
    expires_in: u64,
    resend_after: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    otp: Option<String>,
}

const HAS_ACCOUNT: &str = "select exists (select from users where mobile = $1)";

impl CodeSender {
    /// Reads the variables of the state store, the database, AWS, and those that begin with `OTP`.
    ///
    /// # Errors
    /// When a variable is missing or malformed, or codes would be shown in responses where they must not.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self { codes: CodeIssuer::from_env()?, database: Database::from_env()?, delivery: Delivery::from_env()? })
    }

    /// Sends a code to `mobile` for a request.
    ///
    /// # Errors
    /// As [`CodeIssuer::issue`]; for a sign-up as [`CodeIssuer::count_sms`]; and when Postgres fails.
    pub async fn send(&self, reason: Reason, mobile: &Mobile, request: &Request) -> Result<CodeSent> {
        let (purpose, account) = match reason {
            Reason::SignUp(account) => (Purpose::SignIn, Some(account)),
            Reason::Known(purpose) => (purpose, None),
        };
        let signs_up = account.is_some();
        let address = self.codes.address(request);
        let Issued { challenge, code, origin } = self.codes.issue(purpose, mobile, &address, account).await?;
        let has_account: bool = self.database.query_one(HAS_ACCOUNT, &[mobile]).await?.get(0);

        let since = Instant::now();
        let sms = match (signs_up, has_account) {
            (true, _) => Some(Sms::SignUp),
            (false, true) => Some(Sms::Known(origin)),
            (false, false) => None,
        };
        let recipient = match sms {
            Some(sms) if self.may_send(sms, mobile).await? => Some(mobile),
            _ => None,
        };
        let is_shown = self.delivery.deliver(recipient, &code, since).await;
        Ok(CodeSent {
            challenge,
            expires_in: codes::LIFETIME.as_secs(),
            resend_after: codes::RESEND_AFTER.as_secs(),
            otp: is_shown.then(|| code.expose_secret().to_owned()),
        })
    }

    /// Counts an SMS, and tells whether it may be sent.
    async fn may_send(&self, sms: Sms, mobile: &Mobile) -> Result<bool> {
        match (sms, self.codes.count_sms(sms, mobile).await) {
            (Sms::Known(_), Err(Error::OverLimit(_))) => Ok(false),
            (_, counted) => counted.map(|()| true),
        }
    }
}
