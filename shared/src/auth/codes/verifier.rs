//! Checks codes, and limits guesses.

use secrecy::ExposeSecret;
use subtle::ConstantTimeEq;

use super::{Challenge, Guess, HOUR, LIFETIME, NewAccount, Purpose, Recipient, StoredCode};
use crate::{
    Error, Result,
    auth::Attempts,
    config::{self, ConfigError},
    domain::Mobile,
    state::Limit,
};

const PER_CODE: Limit = Limit {
    policy: "guesses-per-code",
    detail: "This code was tried too often. Ask for another.",
    times: 5,
    window: LIFETIME,
};
const PER_NUMBER_AND_ADDRESS: Limit = Limit {
    policy: "guesses-per-number",
    detail: "Too many codes were tried with this number.",
    times: 10,
    window: HOUR,
};
const PER_NUMBER: Limit = Limit {
    policy: "guesses-per-number-in-all",
    detail: "Too many codes were tried with this number.",
    times: 30,
    window: HOUR,
};
const PER_ADDRESS: Limit = Limit {
    policy: "guesses-per-address",
    detail: "Too many codes were tried from this address.",
    times: 30,
    window: HOUR,
};

/// Checks codes.
pub struct CodeVerifier {
    pub(super) attempts: Attempts,
    pub(super) per_address: Limit,
}

impl CodeVerifier {
    /// Reads the variables of [`Attempts`], and `OTP_GUESSES_PER_ADDRESS_HOUR`.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn from_env() -> Result<Self, ConfigError> {
        let times = config::or_default("OTP_GUESSES_PER_ADDRESS_HOUR", PER_ADDRESS.times)?;
        Ok(Self { attempts: Attempts::from_env()?, per_address: Limit { times, ..PER_ADDRESS } })
    }

    /// Takes the code that was sent to `mobile` with `challenge`, if `guess` matches it; of many right guesses at once,
    /// one does. Returns the account that the code opens, if it was sent for a sign-up.
    ///
    /// # Errors
    /// - [`Error::WrongCode`] when the code does not match, was taken, expired, tried too often, or never sent,
    /// - [`Error::OverLimit`] when there were too many guesses,
    /// - [`Error::Unavailable`] when the state store does not respond.
    pub async fn take(
        &self,
        purpose: Purpose,
        mobile: &Mobile,
        challenge: &Challenge,
        guess: &Guess,
        address: &str,
    ) -> Result<Option<NewAccount>> {
        let Attempts { store, pepper } = &self.attempts;
        let key = challenge.key();
        let from_here = [(&self.per_address, &[address] as &[_])];
        let (counted, stored) = tokio::join!(self.attempts.count(&from_here), store.get(&key));
        counted?;
        let stored = stored?.ok_or(Error::WrongCode)?;
        let code: StoredCode = serde_json::from_str(&stored).map_err(Error::internal)?;
        let recipient = Recipient { purpose, mobile, challenge };
        if !equal(&recipient.hash(pepper), &code.recipient_hash) {
            return Err(Error::WrongCode);
        }
        self.count_guess(recipient, &code).await?;

        if !equal(&recipient.hash_with_code(pepper, guess.0.expose_secret()), &code.code_hash) {
            return Err(Error::WrongCode);
        }
        let (taken, ()) = tokio::join!(store.remove_if(&key, &stored), self.attempts.give_back(&from_here));
        if taken? { Ok(code.account) } else { Err(Error::WrongCode) }
    }

    async fn count_guess(&self, recipient: Recipient<'_>, code: &StoredCode) -> Result<()> {
        let number = recipient.mobile.as_str();
        match self.attempts.count(&[(&PER_CODE, &[&recipient.challenge.0])]).await {
            Err(Error::OverLimit(_)) => return Err(Error::WrongCode),
            counted => counted?,
        }
        let guesses = [(&PER_NUMBER_AND_ADDRESS, &[number, &code.address_hash] as &[_]), (&PER_NUMBER, &[number])];
        self.attempts.count(&guesses).await
    }
}

fn equal(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}
