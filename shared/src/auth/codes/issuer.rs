//! Makes codes, and limits them: they cost money, ring phones, and can be guessed.

use lambda_http::Request;
use secrecy::{ExposeSecret, SecretString};
use tracing::warn;

use super::{Challenge, DAY, HOUR, LIFETIME, NewAccount, Purpose, RESEND_AFTER, Recipient, StoredCode};
use crate::{
    Error, Result,
    auth::{
        Attempts,
        attempts::Origin,
        countries::{self, Countries},
    },
    config::{self, ConfigError},
    domain::Mobile,
    state::Limit,
};

const RESEND: Limit = Limit {
    policy: "codes",
    detail: "A code was sent to this number moments ago. Wait before asking for another.",
    times: 1,
    window: RESEND_AFTER,
};
const PER_NUMBER_AND_ADDRESS: Limit =
    Limit { policy: "codes", detail: "Too many codes were asked for with this number.", times: 5, window: HOUR };
const PER_ADDRESS: Limit =
    Limit { policy: "codes", detail: "Too many codes were asked for from this address.", times: 60, window: HOUR };
const PER_NUMBER: Limit =
    Limit { policy: "codes", detail: "Too many codes were asked for with this number today.", times: 10, window: DAY };
const PER_COUNTRY: Limit = Limit {
    policy: "codes",
    detail: "Too many codes were asked for in this country. Try again later.",
    times: 300,
    window: HOUR,
};
const IN_ALL: Limit =
    Limit { policy: "codes", detail: "Too many codes were asked for. Try again later.", times: 1_000, window: HOUR };

/// Makes codes.
pub struct CodeIssuer {
    pub(super) attempts: Attempts,
    pub(super) countries: Countries,
    pub(super) lifetime: std::time::Duration,
    pub(super) resend: Limit,
    pub(super) per_address: Limit,
    pub(super) per_country: Limit,
    pub(super) in_all: Limit,
}

/// Holds a new code.
pub struct Issued {
    /// The challenge that the code works with.
    pub challenge: Challenge,
    /// The code itself, for its owner's phone only.
    pub code: SecretString,
    /// Tells whether the number had signed in from the address that asked.
    pub origin: Origin,
}

/// Tells apart the SMS that are capped, each kind by itself.
#[derive(Clone, Copy)]
pub enum Sms {
    /// To a number that signs up, whether or not it has an account.
    SignUp,
    /// To a number that has an account.
    Known(Origin),
}

impl Sms {
    fn name(self) -> &'static str {
        match self {
            Self::SignUp => "sign-up",
            Self::Known(origin) => origin.name(),
        }
    }
}

impl CodeIssuer {
    /// Reads the variables of [`Attempts`] and [`Countries`], and `OTP_CODES_PER_ADDRESS_HOUR`,
    /// `OTP_CODES_PER_COUNTRY_HOUR` and `OTP_CODES_PER_HOUR`.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn from_env() -> Result<Self, ConfigError> {
        let limit = |name, default: Limit| {
            let times = config::or_default(name, default.times)?;
            Ok(Limit { times, ..default })
        };
        Ok(Self {
            attempts: Attempts::from_env()?,
            countries: Countries::from_env()?,
            lifetime: LIFETIME,
            resend: RESEND,
            per_address: limit("OTP_CODES_PER_ADDRESS_HOUR", PER_ADDRESS)?,
            per_country: limit("OTP_CODES_PER_COUNTRY_HOUR", PER_COUNTRY)?,
            in_all: limit("OTP_CODES_PER_HOUR", IN_ALL)?,
        })
    }

    /// Returns the network address that asks for a code.
    #[must_use]
    pub fn address(&self, request: &Request) -> String {
        self.attempts.address(request)
    }

    /// Makes a code for `mobile` on a request from the network `address`; for a sign-up, with the `account` that it
    /// opens. Earlier codes go on working. It does the same for every number, whether or not it has an account: only
    /// [`count_sms`](Self::count_sms) differs.
    ///
    /// # Errors
    /// - [`Error::Invalid`] for a number of a country that is not served,
    /// - [`Error::OverLimit`] when there were too many codes, or one moments ago,
    /// - [`Error::Unavailable`] when the state store does not respond.
    pub async fn issue(
        &self,
        purpose: Purpose,
        mobile: &Mobile,
        address: &str,
        account: Option<NewAccount>,
    ) -> Result<Issued> {
        self.countries.check(mobile)?;
        let number = mobile.as_str();
        let origin = self.attempts.origin(mobile, address).await?;
        let limits = [
            (&self.resend, &["resend", purpose.name(), number, address] as &[_]),
            (&PER_NUMBER_AND_ADDRESS, &["number and address", number, address]),
            (&self.per_address, &["address", origin.name(), address]),
            (&PER_NUMBER, &["number", origin.name(), number]),
        ];
        self.attempts.count(&limits).await?;

        let pepper = &self.attempts.pepper;
        let (challenge, code) = (Challenge::new()?, random_code()?);
        let recipient = Recipient { purpose, mobile, challenge: &challenge };
        let stored = StoredCode {
            recipient_hash: recipient.hash(pepper),
            code_hash: recipient.hash_with_code(pepper, code.expose_secret()),
            address_hash: pepper.tag("address", &[address]),
            origin,
            account,
        };
        let stored = serde_json::to_string(&stored).map_err(Error::internal)?;
        let store = &self.attempts.store;
        store.put_if_absent(&challenge.key(), &stored, self.lifetime).await?;
        Ok(Issued { challenge, code, origin })
    }

    /// Counts an SMS that is about to be sent. The caps bound what people gain who earn from SMS: they ask for codes
    /// for numbers of theirs, from many addresses. A cap keeps honest users out too, so reaching one raises an alarm,
    /// and each kind of SMS has caps of its own: what fills those of sign-ups leaves those of customers alone.
    ///
    /// # Errors
    /// - [`Error::OverLimit`] when a cap is reached,
    /// - [`Error::Unavailable`] when the state store does not respond.
    pub async fn count_sms(&self, sms: Sms, mobile: &Mobile) -> Result<()> {
        let (country, kind) = (countries::calling_code(mobile), sms.name());
        let caps = [(&self.per_country, &["country", kind, country] as &[_]), (&self.in_all, &["all", kind])];
        let counted = self.attempts.count(&caps).await;
        if let Err(Error::OverLimit(over)) = &counted {
            // The alarm counts lines with this metric.
            warn!(metric = "codes_capped", kind, country, cap = over.limit, "codes are not sent");
        }
        counted
    }
}

/// Draws six digits, each code equally likely: numbers from the incomplete last million are drawn again.
pub(super) fn random_code() -> Result<SecretString> {
    const CODES: u32 = 1_000_000;
    loop {
        let number = getrandom::u32().map_err(Error::internal)?;
        if number < u32::MAX - u32::MAX % CODES {
            return Ok(format!("{:06}", number % CODES).into());
        }
    }
}
