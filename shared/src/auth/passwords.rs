//! Hashes and verifies passwords: argon2id with 19 MiB, two passes and one lane (OWASP Password Storage Cheat Sheet),
//! and none of the most common ones. They are optional: a number's owner can always sign in by code.
//!
//! An hour allows 10 wrong ones for a number and the address they come from, 100 for an address, and 50 for a number
//! from all addresses. So a stranger at one address does not keep the owner at another from signing in, and an office
//! behind one address signs in as often as it likes.

use std::{sync::OnceLock, time::Duration};

use argon2::{
    Argon2, PasswordHasher, PasswordVerifier,
    password_hash::{self, phc::PasswordHash},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{Attempts, attempts::Count, common_passwords};
use crate::{
    Error, Result,
    domain::{Mobile, UserId},
    state::Limit,
};

const HOUR: Duration = Duration::from_hours(1);

const PER_NUMBER_AND_ADDRESS: Limit = Limit {
    policy: "passwords-per-number",
    detail: "Too many passwords were tried with this number. Sign in with a code instead.",
    times: 10,
    window: HOUR,
};
const PER_ADDRESS: Limit = Limit {
    policy: "passwords-per-address",
    detail: "Too many passwords were tried from this address.",
    times: 100,
    window: HOUR,
};
const PER_NUMBER: Limit = Limit {
    policy: "passwords-per-number-in-all",
    detail: "Too many passwords were tried with this number. Sign in with a code instead.",
    times: 50,
    window: HOUR,
};
const PER_USER: Limit = Limit {
    policy: "passwords-per-user",
    detail: "Too many passwords were tried for this account.",
    times: 10,
    window: HOUR,
};

/// Counts a password that is about to be tried for signing in from the network `address`. These counters are apart from
/// those of codes, so whoever exhausts them locks nobody out of signing in by code.
///
/// # Errors
/// - [`Error::OverLimit`] when there were too many wrong ones,
/// - [`Error::Unavailable`] when the state store does not respond.
pub async fn count_sign_in(attempts: &Attempts, mobile: &Mobile, address: &str) -> Result<()> {
    attempts.count(&for_sign_in(&[mobile.as_str(), address])).await
}

/// Gives back what [`count_sign_in`] counted, since the password was right.
pub async fn give_back_sign_in(attempts: &Attempts, mobile: &Mobile, address: &str) {
    attempts.give_back(&for_sign_in(&[mobile.as_str(), address])).await;
}

fn for_sign_in<'a>(number_and_address: &'a [&'a str; 2]) -> [Count<'a>; 3] {
    let (number, address) = number_and_address.split_at(1);
    [(&PER_NUMBER_AND_ADDRESS, number_and_address), (&PER_ADDRESS, address), (&PER_NUMBER, number)]
}

/// Counts a current password that is about to be tried by somebody who is signed in.
///
/// # Errors
/// As [`count_sign_in`].
pub async fn count_change(attempts: &Attempts, user: UserId) -> Result<()> {
    attempts.count(&[(&PER_USER, &[&user.to_string()])]).await
}

/// Gives back what [`count_change`] counted, since the password was right.
pub async fn give_back_change(attempts: &Attempts, user: UserId) {
    attempts.give_back(&[(&PER_USER, &[&user.to_string()])]).await;
}

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
        if !(8..=128).contains(&password.chars().count()) {
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
        return Ok(Verdict::Wrong);
    };
    let parsed = PasswordHash::new(stored).map_err(Error::internal)?;
    let password = typed.expose_secret().as_bytes();
    match argon2().verify_password(password, &parsed) {
        Ok(()) if is_current(stored) => Ok(Verdict::Right),
        Ok(()) => Ok(Verdict::Outdated(hash(typed)?)),
        Err(password_hash::Error::PasswordInvalid) => Ok(Verdict::Wrong),
        Err(error) => Err(Error::internal(error)),
    }
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
    use crate::{
        domain::SessionId,
        state::{Choice, StateStore},
        testing::new_mobile,
    };

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

    /// The number of passwords that a number gets tried in an hour at each of so many new addresses.
    async fn tries(attempts: &Attempts, mobiles: &[Mobile], addresses: usize) -> usize {
        let mut counted = 0;
        for _ in 0..addresses {
            let address = SessionId::new().to_string();
            for mobile in mobiles {
                for _ in 0..11 {
                    counted += usize::from(count_sign_in(attempts, mobile, &address).await.is_ok());
                }
            }
        }
        counted
    }

    #[tokio::test]
    async fn ten_passwords_for_a_number_at_an_address_fifty_for_a_number_and_a_hundred_at_an_address_are_tried() {
        let store = StateStore::open(Choice::Redis).expect("run the tests with `cargo local test`");
        let attempts = &Attempts { store, pepper: "pepper".into() };
        assert_eq!(tries(attempts, &[new_mobile()], 1).await, 10);
        assert_eq!(tries(attempts, &[new_mobile()], 6).await, 50);
        let mobiles: Vec<_> = (0..11).map(|_| new_mobile()).collect();
        assert_eq!(tries(attempts, &mobiles, 1).await, 100);
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
