//! Asks for a proof of the moment before what cannot be undone: deleting the account, a first password, another e-mail
//! address.
//!
//! An access token may have been stolen, and is good for minutes. Without this, whoever has one owns the account for
//! good: he sets a password, and the owner is out. So these endpoints ask for what only the owner has at that moment:
//! the password, or a code that was sent for this purpose alone.

use lambda_http::Request;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{
    CodeVerifier,
    codes::{Challenge, Guess, Purpose},
    passwords::{self, PasswordAttempt, Verdict},
};
use crate::{Error, Result, config::ConfigError, domain::Mobile};

/// Holds a password as somebody typed it to prove who they are.
#[derive(Deserialize)]
#[serde(try_from = "SecretString")]
pub struct TypedPassword(SecretString);

impl TryFrom<SecretString> for TypedPassword {
    type Error = &'static str;

    fn try_from(text: SecretString) -> std::result::Result<Self, &'static str> {
        let fits = text.expose_secret().chars().count() <= *passwords::LENGTHS.end();
        if fits { Ok(Self(text)) } else { Err("must have at most 128 characters") }
    }
}

/// A proof that the owner is there now, as the fields of a request give it.
pub enum Confirmation {
    /// The account's password.
    Password(SecretString),
    /// A code that was sent for [`Purpose::Confirm`].
    Code(Challenge, Guess),
}

impl Confirmation {
    /// Reads the fields `password`, `challenge` and `otp` of a request. Half a code is none, and one beside a password
    /// is not looked at.
    #[must_use]
    pub fn of(password: Option<TypedPassword>, challenge: Option<Challenge>, otp: Option<Guess>) -> Option<Self> {
        match (password, challenge, otp) {
            (Some(TypedPassword(password)), _, _) => Some(Self::Password(password)),
            (None, Some(challenge), Some(otp)) => Some(Self::Code(challenge, otp)),
            (None, _, _) => None,
        }
    }
}

/// Checks proofs of the moment.
pub struct Confirmer {
    codes: CodeVerifier,
}

impl Confirmer {
    /// Reads the variables of [`CodeVerifier`].
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self { codes: CodeVerifier::from_env()? })
    }

    /// Checks that a request of the owner of `mobile`, whose password has the hash `stored`, proves that the owner is
    /// there. A code is taken by that, whatever becomes of the request.
    ///
    /// # Errors
    /// - [`Error::SignInAgain`] without a proof,
    /// - [`Error::WrongPassword`] or [`Error::WrongCode`] for a wrong one,
    /// - [`Error::OverLimit`] when there were too many wrong ones,
    /// - [`Error::Unavailable`] when the state store does not respond.
    pub async fn check(
        &self,
        confirmation: Option<Confirmation>,
        mobile: &Mobile,
        stored: Option<&str>,
        request: &Request,
    ) -> Result<()> {
        let address = self.codes.address(request);
        match confirmation.ok_or(Error::SignInAgain)? {
            Confirmation::Code(challenge, otp) => {
                let taken = self.codes.take(Purpose::Confirm, mobile, &challenge, &otp, &address).await;
                taken.map(drop)
            }
            Confirmation::Password(password) => {
                let attempt = PasswordAttempt::in_session(self.codes.attempts(), mobile, &address).await?;
                match passwords::verify(&password, stored)? {
                    Verdict::Wrong => Err(Error::WrongPassword),
                    Verdict::Right | Verdict::Outdated(_) => {
                        attempt.succeed().await;
                        Ok(())
                    }
                }
            }
        }
    }
}
