//! Sends codes for signing up, signing in and setting a new password, all in the same way.
//!
//! The response must not tell who has an account. So a number without one takes the same steps and the same time, and
//! gets a challenge too; only no message is sent.

use secrecy::ExposeSecret;
use serde::Serialize;

use super::{
    codes::{self, Challenge, CodeIssuer, Issued, NewAccount, Purpose},
    delivery::Delivery,
};
use crate::{Result, config::ConfigError, database::Database, domain::Mobile};

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
    /// To sign in.
    SignIn,
    /// To set a new password.
    ResetPassword,
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

    /// Sends a code to `mobile` on a request from the network `address`.
    ///
    /// # Errors
    /// As [`CodeIssuer::issue`], and when Postgres fails.
    pub async fn send(&self, reason: Reason, mobile: &Mobile, address: &str) -> Result<CodeSent> {
        let (purpose, account) = match reason {
            Reason::SignUp(account) => (Purpose::SignIn, Some(account)),
            Reason::SignIn => (Purpose::SignIn, None),
            Reason::ResetPassword => (Purpose::ResetPassword, None),
        };
        let signs_up = account.is_some();
        let Issued { challenge, code } = self.codes.issue(purpose, mobile, address, account).await?;
        let has_account: bool = self.database.query_one(HAS_ACCOUNT, &[mobile]).await?.get(0);

        let recipient = (signs_up || has_account).then_some(mobile);
        let is_shown = self.delivery.deliver(recipient, &code).await;
        Ok(CodeSent {
            challenge,
            expires_in: codes::LIFETIME.as_secs(),
            resend_after: codes::RESEND_AFTER.as_secs(),
            otp: is_shown.then(|| code.expose_secret().to_owned()),
        })
    }
}
