//! Makes and checks one-time codes: six digits that prove who holds a mobile number. (OWASP ASVS 5, 6.5 and 6.6.)
//!
//! A request for a code returns a *challenge*, 128 random bits, and the code works with that challenge only. So nobody
//! can guess at a code that somebody else asked for, use up its guesses, or replace it by asking for another. A code
//! lives five minutes and works once. Only a keyed hash of it is stored, so that the state store alone reveals no code.
//!
//! # How likely a guess is
//!
//! Every guess at a living code is counted before it is compared, so that parallel ones cannot slip through:
//! - 5 for a code,
//! - 10 an hour for a number and the address that its codes were asked for from,
//! - 30 a day for a number,
//! - 50 in a row for a number, until a right one, or for 30 days,
//! - 30 wrong ones an hour for the address that guesses.
//!
//! The last three are counted apart for codes that were asked for from an address at which the number signed in before:
//! see [`Origin`]. A right guess counts for the day, which errs on the safe side.
//!
//! Therefore strangers get into an account with a probability of at most 1 in 100 000 in an hour from one address,
//! 3 in 100 000 in a day from any number of them, and 5 in 100 000 before the number is locked for them. With those who
//! share an address with the owner that makes 100 failures in a row, the most that NIST SP 800-63B allows (5.2.2).
//!
//! Three addresses can keep an owner out for a day, and two days of guessing for a month, where the owner never signed
//! in before; not where the owner did, and not from signing in by password.
//!
//! A device that guesses at many numbers is stopped by its address: after 30 wrong guesses an hour, which is 3 in
//! 100 000 for any account at all. Guesses without a living challenge cannot be right, so they have a count of their
//! own, ten times as wide, and keep nobody out who has one.

mod issuer;
#[cfg(test)]
mod tests;
mod verifier;

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

pub use issuer::{CodeIssuer, Issued, Sms};
pub use verifier::CodeVerifier;

use super::{Pepper, attempts::Origin};
use crate::{
    Error, Result,
    domain::{Email, Mobile, Name},
};

/// How long a code works.
pub const LIFETIME: Duration = Duration::from_mins(5);
/// The shortest time between two requests for a code.
pub const RESEND_AFTER: Duration = Duration::from_secs(30);

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Lists what a code can prove. A code for one purpose is worth nothing for another.
#[derive(Debug, Clone, Copy)]
pub enum Purpose {
    /// Signing in.
    SignIn,
    /// Setting a new password.
    ResetPassword,
    /// Confirming, as somebody who is signed in, what cannot be undone.
    Confirm,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::ResetPassword => "reset-password",
            Self::Confirm => "confirm",
        }
    }
}

/// Describes the account that a sign-up opens once its number is proved. Until then it is stored with the code, so each
/// code opens the account that its own request described.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct NewAccount {
    /// The user's name.
    pub name: Option<Name>,
    /// The user's e-mail address.
    pub email: Option<Email>,
}

/// Identifies the request for a code.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Challenge(String);

impl Challenge {
    const BYTES: usize = 16;

    fn new() -> Result<Self> {
        let mut bytes = [0; Self::BYTES];
        getrandom::fill(&mut bytes).map_err(Error::internal)?;
        Ok(Self(BASE64_URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Names the code in the state store.
    fn key(&self) -> String {
        format!("code:{}", self.0)
    }
}

impl TryFrom<String> for Challenge {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&text);
        let well_formed = bytes.is_ok_and(|bytes| bytes.len() == Self::BYTES);
        well_formed
            .then_some(Self(text))
            .ok_or("must be the challenge of the response that the code was asked for with")
    }
}

/// Holds a code as the user typed it: six digits.
#[derive(Deserialize)]
#[serde(try_from = "SecretString")]
pub struct Guess(SecretString);

impl TryFrom<SecretString> for Guess {
    type Error = &'static str;

    fn try_from(text: SecretString) -> Result<Self, &'static str> {
        let digits = text.expose_secret().as_bytes();
        let well_formed = digits.len() == 6 && digits.iter().all(u8::is_ascii_digit);
        well_formed.then_some(Self(text)).ok_or("must be the six digits that were sent")
    }
}

/// Describes a code in the state store. The hashes are keyed.
#[derive(Serialize, Deserialize)]
struct StoredCode {
    /// Hashes the purpose, the number and the challenge.
    recipient_hash: String,
    /// Hashes the same and the code.
    code_hash: String,
    /// Hashes the address that asked for the code.
    address_hash: String,
    /// Tells whether the number had signed in from that address.
    origin: Origin,
    /// Describes the account that a sign-up opens.
    account: Option<NewAccount>,
}

/// Identifies who gets a code, and what for.
#[derive(Clone, Copy)]
struct Recipient<'a> {
    purpose: Purpose,
    mobile: &'a Mobile,
    challenge: &'a Challenge,
}

impl Recipient<'_> {
    fn hash(&self, pepper: &Pepper) -> String {
        pepper.tag("challenge", &[self.purpose.name(), self.mobile.as_str(), &self.challenge.0])
    }

    fn hash_with_code(&self, pepper: &Pepper, code: &str) -> String {
        pepper.tag("code", &[self.purpose.name(), self.mobile.as_str(), &self.challenge.0, code])
    }
}
