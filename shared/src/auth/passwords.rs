//! Hashes and verifies passwords: argon2id with 19 MiB, two passes and one lane (OWASP Password Storage Cheat Sheet),
//! and none of the most common ones. They are optional: a number's owner can always sign in by code.
//!
//! Wrong passwords are limited:
//! - 10 an hour for a number and the address that they come from,
//! - 100 an hour for an address,
//! - 50 a day for a number,
//! - 50 in a row for a number, until a right one, or for 30 days.
//!
//! The last three are counted apart for addresses at which the number signed in before: see [`Origin`]. So a stranger
//! does not keep the owner from signing in where the owner signed in before, and an office behind one address signs in
//! as often as it likes. The counts are apart from those of codes: who fills the ones leaves the others alone.

use std::{ops::RangeInclusive, sync::OnceLock, time::Duration};

use argon2::{
    Argon2, PasswordHasher, PasswordVerifier,
    password_hash::{self, phc::PasswordHash},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tracing::warn;

use super::{
    Attempts,
    attempts::{Count, IN_A_ROW, Origin},
    common_passwords,
};
use crate::{Error, Result, domain::Mobile, state::Limit};

const HOUR: Duration = Duration::from_hours(1);

const PER_NUMBER_AND_ADDRESS: Limit = Limit {
    policy: "passwords",
    detail: "Too many passwords were tried with this number. Use a code instead.",
    times: 10,
    window: HOUR,
};
const PER_ADDRESS: Limit = Limit {
    policy: "passwords",
    detail: "Too many passwords were tried from this address. Use a code instead.",
    times: 100,
    window: HOUR,
};
const PER_NUMBER: Limit = Limit {
    policy: "passwords",
    detail: "Too many passwords were tried with this number today. Use a code instead.",
    times: 50,
    window: Duration::from_hours(24),
};
const PER_NUMBER_IN_A_ROW: Limit = Limit {
    policy: "passwords",
    detail: "Too many wrong passwords were tried with this number. Use a code instead, or set a new password with one.",
    ..IN_A_ROW
};

/// A password that is about to be tried, which is counted before it is compared.
pub struct PasswordAttempt<'a> {
    attempts: &'a Attempts,
    mobile: &'a Mobile,
    address: &'a str,
    origin: Origin,
}

impl<'a> PasswordAttempt<'a> {
    /// Counts a password that is tried for signing in from the network `address`.
    ///
    /// # Errors
    /// - [`Error::OverLimit`] when there were too many wrong ones,
    /// - [`Error::Unavailable`] when the state store does not respond.
    pub async fn to_sign_in(attempts: &'a Attempts, mobile: &'a Mobile, address: &'a str) -> Result<Self> {
        let origin = attempts.origin(mobile, address).await?;
        Self { attempts, mobile, address, origin }.count().await
    }

    /// Counts a password that is tried in a session of the number's: strangers have none, so their failures do not
    /// count here.
    ///
    /// # Errors
    /// As [`to_sign_in`](Self::to_sign_in).
    pub async fn in_session(attempts: &'a Attempts, mobile: &'a Mobile, address: &'a str) -> Result<Self> {
        Self { attempts, mobile, address, origin: Origin::Familiar }.count().await
    }

    async fn count(self) -> Result<Self> {
        let (number, origin) = (self.mobile.as_str(), self.origin.name());
        let limits = [
            (&PER_NUMBER_AND_ADDRESS, &["number and address", number, self.address] as &[_]),
            (&PER_ADDRESS, &["address", origin, self.address]),
            (&PER_NUMBER, &["number", origin, number]),
            (&PER_NUMBER_IN_A_ROW, &["in a row", origin, number]),
        ];
        self.attempts.count(&limits).await?;
        Ok(self)
    }

    /// Takes the attempt off again, since the password was right, and remembers where it came from.
    pub async fn succeed(self) {
        let (number, origin) = (self.mobile.as_str(), self.origin.name());
        let counted: [Count<'_>; 3] = [
            (&PER_NUMBER_AND_ADDRESS, &["number and address", number, self.address]),
            (&PER_ADDRESS, &["address", origin, self.address]),
            (&PER_NUMBER, &["number", origin, number]),
        ];
        tokio::join!(
            self.attempts.give_back(&counted),
            forget_failures(self.attempts, self.mobile),
            self.attempts.remember(self.mobile, self.address),
        );
    }
}

/// Forgets the failures in a row of a number, since its owner proved to be there, or set another password.
pub async fn forget_failures(attempts: &Attempts, mobile: &Mobile) {
    let in_a_row = Origin::BOTH.map(|origin| ["in a row", origin.name(), mobile.as_str()]);
    let in_a_row = in_a_row.each_ref().map(|whom| (&PER_NUMBER_IN_A_ROW, whom as &[_]));
    attempts.clear(&in_a_row).await;
}

/// The fewest and the most characters of a password.
pub(super) const LENGTHS: RangeInclusive<usize> = 8..=128;

/// Holds a new password: 8 to 128 characters, and not among the most common.
#[derive(Deserialize)]
#[serde(try_from = "SecretString")]
pub struct Password(SecretString);

/// Lists why a password is not acceptable.
#[derive(Debug, thiserror::Error)]
pub enum NotAPassword {
    /// Too short or too long.
    #[error("must have 8 to 128 characters")]
    Length,
    /// On the list.
    #[error("is among the most common passwords; choose another")]
    Common,
}

impl TryFrom<SecretString> for Password {
    type Error = NotAPassword;

    fn try_from(text: SecretString) -> Result<Self, NotAPassword> {
        let password = text.expose_secret();
        if !LENGTHS.contains(&password.chars().count()) {
            return Err(NotAPassword::Length);
        }
        if common_passwords::contains(password) {
            return Err(NotAPassword::Common);
        }
        Ok(Self(text))
    }
}

impl Password {
    /// Hashes it for storing, as a PHC string with a random salt.
    ///
    /// # Errors
    /// When hashing fails, which is a defect.
    pub fn hash(&self) -> Result<String> {
        hash(&self.0)
    }
}

/// The outcome of comparing a typed password with a stored hash.
pub enum Verdict {
    /// It does not match.
    Wrong,
    /// It matches.
    Right,
    /// It matches a hash with old parameters: store this one instead.
    Outdated(String),
}

/// Compares a typed password with a stored hash. Without a stored hash it takes the same time and is wrong.
///
/// # Errors
/// When hashing fails, or the stored hash cannot be read, which are defects.
pub fn verify(typed: &SecretString, stored: Option<&str>) -> Result<Verdict> {
    let Some(stored) = stored else {
        hash(typed)?;
        return Ok(wrong());
    };
    let parsed = PasswordHash::new(stored).map_err(Error::internal)?;
    let password = typed.expose_secret().as_bytes();
    match argon2().verify_password(password, &parsed) {
        Ok(()) if is_current(stored) => Ok(Verdict::Right),
        Ok(()) => Ok(Verdict::Outdated(hash(typed)?)),
        Err(password_hash::Error::PasswordInvalid) => Ok(wrong()),
        Err(error) => Err(Error::internal(error)),
    }
}

fn wrong() -> Verdict {
    // The alarm counts lines with this metric.
    warn!(metric = "wrong_guess", "a password does not match");
    Verdict::Wrong
}

fn hash(password: &SecretString) -> Result<String> {
    let hash = argon2().hash_password(password.expose_secret().as_bytes());
    Ok(hash.map_err(Error::internal)?.to_string())
}

/// Uses the library's defaults, which are the parameters above; a test holds them to it.
fn argon2() -> &'static Argon2<'static> {
    static ARGON2: OnceLock<Argon2> = OnceLock::new();
    ARGON2.get_or_init(Argon2::default)
}

fn is_current(stored: &str) -> bool {
    stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
}

#[cfg(test)]
mod tests {
    //! Tests which passwords are accepted, how they are hashed, and how often one may be guessed.

    use argon2::Params;

    use super::*;
    use crate::{domain::SessionId, state::Choice, testing::new_mobile};

    fn secret(text: &str) -> SecretString {
        text.to_owned().into()
    }

    fn parse(text: &str) -> Option<Password> {
        Password::try_from(secret(text)).ok()
    }

    #[test]
    fn length_is_counted_in_characters() {
        assert!(parse("längste").is_none(), "seven characters in eight bytes");
        assert!(parse("längster").is_some());
        assert!(parse(&"ж".repeat(128)).is_some());
        assert!(parse(&"ж".repeat(129)).is_none());
    }

    #[test]
    fn the_commonest_passwords_are_refused_in_any_case() {
        for common in ["password", "PassWord", "12345678", "qwertyuiop", "iloveyou1", "football"] {
            assert!(parse(common).is_none(), "{common}");
        }
    }

    /// Tries wrong passwords with numbers at an address, and returns how many were compared.
    async fn try_at(attempts: &Attempts, mobiles: &[Mobile], address: &str) -> usize {
        let mut compared = 0;
        for mobile in mobiles {
            for _ in 0..11 {
                compared += usize::from(PasswordAttempt::to_sign_in(attempts, mobile, address).await.is_ok());
            }
        }
        compared
    }

    /// Tries wrong passwords with a number at so many new addresses.
    async fn try_from_new_addresses(attempts: &Attempts, mobile: &Mobile, addresses: usize) -> usize {
        let mut compared = 0;
        for _ in 0..addresses {
            compared += try_at(attempts, std::slice::from_ref(mobile), &SessionId::new().to_string()).await;
        }
        compared
    }

    #[tokio::test]
    async fn ten_passwords_for_a_number_at_an_address_fifty_for_a_number_and_a_hundred_at_an_address_are_tried() {
        let attempts = &Attempts::over(Choice::Redis);
        let mobiles: Vec<_> = (0..11).map(|_| new_mobile()).collect();
        assert_eq!(try_from_new_addresses(attempts, &new_mobile(), 1).await, 10);
        assert_eq!(try_from_new_addresses(attempts, &new_mobile(), 6).await, 50);
        assert_eq!(try_at(attempts, &mobiles, &SessionId::new().to_string()).await, 100);
    }

    #[tokio::test]
    async fn fifty_wrong_passwords_in_a_row_lock_a_number_for_strangers_until_the_owner_signs_in_from_a_known_address()
    {
        for choice in [Choice::DynamoDb, Choice::Redis] {
            let attempts = &Attempts::over(choice);
            let (mobile, home) = (new_mobile(), SessionId::new().to_string());
            attempts.remember(&mobile, &home).await;
            let is_tried_at =
                async |address: &str| PasswordAttempt::to_sign_in(attempts, &mobile, address).await.is_ok();
            // Days pass: only the failures in a row are counted on.
            for day in 0..5 {
                assert_eq!(try_from_new_addresses(attempts, &mobile, 1).await, 10, "{day}");
                attempts.clear(&[(&PER_NUMBER, &["number", Origin::Strange.name(), mobile.as_str()])]).await;
            }
            assert!(!is_tried_at("198.51.100.1").await, "locked");

            let owner = PasswordAttempt::to_sign_in(attempts, &mobile, &home).await.unwrap();
            owner.succeed().await;
            assert!(is_tried_at("198.51.100.1").await, "a right password begins anew");
        }
    }

    #[test]
    fn hashes_have_the_recommended_parameters() {
        let hash = parse("correct horse battery").unwrap().hash().unwrap();
        assert!(is_current(&hash), "{hash}");
    }

    #[test]
    fn only_the_right_password_is_right() {
        let hash = parse("correct horse battery").unwrap().hash().unwrap();
        let verdict = |typed: &str| verify(&secret(typed), Some(&hash)).unwrap();
        assert!(matches!(verdict("correct horse battery"), Verdict::Right));
        assert!(matches!(verdict("correct horse batterx"), Verdict::Wrong));
        assert!(matches!(verdict(""), Verdict::Wrong));
        assert!(matches!(verify(&secret("anything"), None).unwrap(), Verdict::Wrong));
    }

    #[test]
    fn a_hash_with_other_parameters_is_upgraded() {
        let weak = Params::new(8 * 1024, 1, 1, None).unwrap();
        let weak = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, weak);
        let stored = weak.hash_password(b"correct horse battery").unwrap().to_string();
        let Verdict::Outdated(upgraded) = verify(&secret("correct horse battery"), Some(&stored)).unwrap() else {
            panic!("must be upgraded");
        };
        assert!(is_current(&upgraded), "{upgraded}");
    }
}
