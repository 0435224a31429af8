//! One-time codes: six digits that prove who holds a mobile number.
//!
//! A code is stored as a keyed hash, so that the state store alone reveals none. It lives five minutes and works once.
//! Every guess is counted *before* it is compared, so that parallel guesses cannot slip through: five for a code, ten
//! an hour for a number. A right guess counts too, which errs on the safe side, since a number gets five codes an hour
//! at most. (OWASP ASVS 5, 6.5 and 6.6.)

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::{
    Error, Result,
    config::{self, ConfigError},
    domain::Mobile,
    state::{Limit, StateStore},
};

/// How long a code works.
pub const LIFETIME: Duration = Duration::from_mins(5);
/// How long until a number may get another code.
pub const RESEND_AFTER: Duration = Duration::from_secs(30);

const HOUR: Duration = Duration::from_hours(1);

const RESEND: Limit = Limit {
    policy: "code-resend",
    detail: "A code was sent to this number moments ago. Wait before asking for another.",
    times: 1,
    window: RESEND_AFTER,
};
const PER_NUMBER: Limit = Limit {
    policy: "codes-per-number",
    detail: "Too many codes were asked for with this number.",
    times: 5,
    window: HOUR,
};
const PER_ADDRESS: Limit = Limit {
    policy: "codes-per-address",
    detail: "Too many codes were asked for from this address.",
    times: 20,
    window: HOUR,
};
const GUESSES_PER_NUMBER: Limit = Limit {
    policy: "guesses-per-number",
    detail: "Too many codes were tried with this number.",
    times: 10,
    window: HOUR,
};
const GUESSES_PER_CODE: Limit = Limit {
    policy: "guesses-per-code",
    detail: "This code was tried too often. Ask for another.",
    times: 5,
    window: LIFETIME,
};

/// What a code is good for. A code for one purpose is worth nothing for another.
#[derive(Debug, Clone, Copy)]
pub enum Purpose {
    /// Signing in.
    SignIn,
    /// Setting a new password.
    ResetPassword,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::ResetPassword => "reset-password",
        }
    }
}

/// A code as somebody typed it: six digits.
#[derive(Deserialize)]
#[serde(try_from = "SecretString")]
pub struct Guess(SecretString);

/// Says what a code looks like.
#[derive(Debug, thiserror::Error)]
#[error("must be the six digits that were sent")]
pub struct NotACode;

impl TryFrom<SecretString> for Guess {
    type Error = NotACode;

    fn try_from(text: SecretString) -> Result<Self, NotACode> {
        let digits = text.expose_secret().as_bytes();
        let well_formed = digits.len() == 6 && digits.iter().all(u8::is_ascii_digit);
        well_formed.then_some(Self(text)).ok_or(NotACode)
    }
}

/// Makes and checks codes.
pub struct Codes {
    store: StateStore,
    pepper: SecretString,
    per_address: Limit,
}

impl Codes {
    /// Codes as the environment says: the [state store](StateStore::from_env), `OTP_PEPPER` and
    /// `OTP_CODES_PER_ADDRESS_HOUR`.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            store: StateStore::from_env()?,
            pepper: config::secret("OTP_PEPPER")?,
            per_address: Limit {
                times: config::or_default("OTP_CODES_PER_ADDRESS_HOUR", PER_ADDRESS.times)?,
                ..PER_ADDRESS
            },
        })
    }

    /// A new code for `mobile`, asked for from the network `address`. Whatever code it had stops working.
    ///
    /// # Errors
    /// - [`Error::OverLimit`] when the number or the address had too many, or one moments ago,
    /// - [`Error::Unavailable`] when the state store does not answer.
    pub async fn issue(
        &self,
        purpose: Purpose,
        mobile: &Mobile,
        address: &str,
    ) -> Result<SecretString> {
        let number = mobile.as_str();
        let store = &self.store;
        store
            .count(&format!("codes-from:{address}"), &self.per_address)
            .await?;
        let resend = format!("resend:{}:{number}", purpose.name());
        store.count(&resend, &RESEND).await?;
        store
            .count(&format!("codes-to:{number}"), &PER_NUMBER)
            .await?;

        let code = random_code()?;
        let stored = self.seal(purpose, mobile, &nonce()?, &code);
        let key = key(purpose, mobile);
        loop {
            let done = match store.get(&key).await? {
                Some(before) => store.replace_if(&key, &before, &stored, LIFETIME).await?,
                None => store.put_if_absent(&key, &stored, LIFETIME).await?,
            };
            if done {
                return Ok(code.into());
            }
        }
    }

    /// Takes the code of `mobile` if `guess` is it. Of many right guesses, one takes it.
    ///
    /// # Errors
    /// - [`Error::WrongCode`] when it is not, was taken, expired, guessed at too often, or never issued,
    /// - [`Error::OverLimit`] when the number was guessed at too often,
    /// - [`Error::Unavailable`] when the state store does not answer.
    pub async fn take(&self, purpose: Purpose, mobile: &Mobile, guess: &Guess) -> Result<()> {
        let guesses = format!("guesses:{}", mobile.as_str());
        self.store.count(&guesses, &GUESSES_PER_NUMBER).await?;

        let key = key(purpose, mobile);
        let stored = self.store.get(&key).await?.ok_or(Error::WrongCode)?;
        let (nonce, _) = stored.split_once(':').ok_or(Error::WrongCode)?;
        match self
            .store
            .count(&format!("guesses:{nonce}"), &GUESSES_PER_CODE)
            .await
        {
            Err(Error::OverLimit(_)) => return Err(Error::WrongCode),
            counted => counted?,
        }

        let guessed = self.seal(purpose, mobile, nonce, guess.0.expose_secret());
        let right = bool::from(guessed.as_bytes().ct_eq(stored.as_bytes()));
        if right && self.store.remove_if(&key, &stored).await? {
            Ok(())
        } else {
            Err(Error::WrongCode)
        }
    }

    /// `nonce:HMAC-SHA-256(pepper, purpose, number, nonce, code)`. The nonce makes every stored code different, even
    /// when the digits repeat, so that removing one can never remove its successor.
    fn seal(&self, purpose: Purpose, mobile: &Mobile, nonce: &str, code: &str) -> String {
        let pepper = self.pepper.expose_secret().as_bytes();
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(pepper).expect("any key length");
        for part in [purpose.name(), mobile.as_str(), nonce, code] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        let hash = BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        format!("{nonce}:{hash}")
    }
}

fn key(purpose: Purpose, mobile: &Mobile) -> String {
    format!("code:{}:{}", purpose.name(), mobile.as_str())
}

fn nonce() -> Result<String> {
    let mut nonce = [0; 12];
    getrandom::fill(&mut nonce).map_err(Error::internal)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(nonce))
}

/// Six digits, each code equally likely: numbers from the incomplete last million are drawn again.
fn random_code() -> Result<String> {
    const CODES: u32 = 1_000_000;
    loop {
        let number = getrandom::u32().map_err(Error::internal)?;
        if number < u32::MAX - u32::MAX % CODES {
            return Ok(format!("{:06}", number % CODES));
        }
    }
}
