//! Checks codes, and limits guesses.

use lambda_http::Request;
use secrecy::ExposeSecret;
use subtle::ConstantTimeEq;
use tracing::warn;

use super::{Challenge, DAY, Guess, HOUR, LIFETIME, NewAccount, Purpose, Recipient, StoredCode};
use crate::{
    Error, Result,
    auth::{
        Attempts,
        attempts::{Count, IN_A_ROW, Origin},
    },
    config::{self, ConfigError},
    domain::Mobile,
    state::Limit,
};

const PER_CODE: Limit =
    Limit { policy: "guesses", detail: "This code was tried too often. Ask for another.", times: 5, window: LIFETIME };
const PER_NUMBER_AND_ADDRESS: Limit =
    Limit { policy: "guesses", detail: "Too many codes were tried with this number.", times: 10, window: HOUR };
const PER_NUMBER: Limit =
    Limit { policy: "guesses", detail: "Too many codes were tried with this number today.", times: 30, window: DAY };
const PER_ADDRESS: Limit =
    Limit { policy: "guesses", detail: "Too many codes were tried from this address.", times: 30, window: HOUR };
const PER_NUMBER_IN_A_ROW: Limit = Limit {
    policy: "guesses",
    detail: "Too many wrong codes were tried with this number. Ask for a code where you signed in before, or use your \
             password.",
    ..IN_A_ROW
};

/// How many guesses without a living challenge an address has for each of the others: they cannot be right.
const ASTRAY: u32 = 10;

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

    /// Counts what else is attempted.
    #[must_use]
    pub fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// Returns the network address that a guess comes from.
    #[must_use]
    pub fn address(&self, request: &Request) -> String {
        self.attempts.address(request)
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
        let Attempts { store, pepper, .. } = &self.attempts;
        let recipient = Recipient { purpose, mobile, challenge };
        let key = challenge.key();
        let stored = store.get(&key).await?;
        let Some((stored, code)) = self.find(stored, recipient)? else {
            return self.count_astray(address).await.and(Err(Error::WrongCode));
        };
        self.count_guess(recipient, &code, address).await?;

        if !equal(&recipient.hash_with_code(pepper, guess.0.expose_secret()), &code.code_hash) {
            // The alarm counts lines with this metric.
            warn!(metric = "wrong_guess", "a code does not match");
            return Err(Error::WrongCode);
        }
        let (taken, ()) = tokio::join!(store.remove_if(&key, &stored), self.accept(mobile, code.origin, address));
        if taken? { Ok(code.account) } else { Err(Error::WrongCode) }
    }

    /// Reads what is stored of a code, if it was sent to this recipient.
    fn find(&self, stored: Option<String>, recipient: Recipient<'_>) -> Result<Option<(String, StoredCode)>> {
        let Some(stored) = stored else {
            return Ok(None);
        };
        let code: StoredCode = serde_json::from_str(&stored).map_err(Error::internal)?;
        let is_theirs = equal(&recipient.hash(&self.attempts.pepper), &code.recipient_hash);
        Ok(is_theirs.then_some((stored, code)))
    }

    /// Counts a guess at a code that is not there, which cannot be right. It leaves alone what others at the address
    /// need.
    async fn count_astray(&self, address: &str) -> Result<()> {
        warn!(metric = "wrong_guess", "a guess names no living code");
        let astray = Limit { times: self.per_address.times.saturating_mul(ASTRAY), ..self.per_address };
        self.attempts.count(&[(&astray, &["astray", address])]).await
    }

    /// Counts a guess at a living code.
    async fn count_guess(&self, recipient: Recipient<'_>, code: &StoredCode, address: &str) -> Result<()> {
        let (number, origin) = (recipient.mobile.as_str(), code.origin.name());
        self.attempts.count(&[(&self.per_address, &["address", origin, address])]).await?;
        match self.attempts.count(&[(&PER_CODE, &["code", &recipient.challenge.0])]).await {
            Err(Error::OverLimit(_)) => return Err(Error::WrongCode),
            counted => counted?,
        }
        let guesses = [
            (&PER_NUMBER_AND_ADDRESS, &["number and address", number, &code.address_hash] as &[_]),
            (&PER_NUMBER, &["number", origin, number]),
            (&PER_NUMBER_IN_A_ROW, &["in a row", origin, number]),
        ];
        self.attempts.count(&guesses).await
    }

    /// Forgets failures before a right guess, and remembers where it came from.
    async fn accept(&self, mobile: &Mobile, origin: Origin, address: &str) {
        let of_address: [Count<'_>; 1] = [(&self.per_address, &["address", origin.name(), address])];
        let in_a_row = Origin::BOTH.map(|origin| ["in a row", origin.name(), mobile.as_str()]);
        let in_a_row = in_a_row.each_ref().map(|whom| (&PER_NUMBER_IN_A_ROW, whom as &[_]));
        tokio::join!(
            self.attempts.give_back(&of_address),
            self.attempts.clear(&in_a_row),
            self.attempts.remember(mobile, address),
        );
    }
}

fn equal(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}
