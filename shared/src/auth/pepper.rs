//! Makes keyed hashes of values that are compared but never read back: codes, mobile numbers and addresses.
//!
//! A mobile number has so few digits that a plain hash of it is as good as the number. A keyed one is not, as long as
//! `OTP_PEPPER` is secret.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::config::{self, ConfigError};

/// Holds the key of the hashes.
#[derive(Clone)]
pub struct Pepper(SecretString);

impl Pepper {
    /// Reads `OTP_PEPPER`.
    ///
    /// # Errors
    /// When it is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        config::secret("OTP_PEPPER").map(Self)
    }

    /// Hashes `parts` with HMAC-SHA-256 for one `purpose`. Other parts, or another purpose, give another hash, wherever
    /// one part ends and the next begins.
    #[must_use]
    #[expect(clippy::expect_used, clippy::missing_panics_doc, reason = "HMAC takes keys of any length")]
    pub fn hash(&self, purpose: &str, parts: &[&str]) -> Vec<u8> {
        let key = self.0.expose_secret().as_bytes();
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key length");
        for part in [purpose].iter().chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().to_vec()
    }

    /// Writes such a hash as base64url text.
    #[must_use]
    pub fn tag(&self, purpose: &str, parts: &[&str]) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.hash(purpose, parts))
    }
}

#[cfg(test)]
impl From<&str> for Pepper {
    fn from(key: &str) -> Self {
        Self(key.to_owned().into())
    }
}

#[cfg(test)]
mod tests {
    //! Tests what makes two hashes differ.

    use super::*;

    #[test]
    fn a_hash_depends_on_key_purpose_and_the_bounds_of_its_parts() {
        let pepper = Pepper::from("pepper");
        let tag = pepper.tag("number", &["+1555", "0109999"]);
        assert_eq!(tag, pepper.tag("number", &["+1555", "0109999"]));
        for other in [
            Pepper::from("salt").tag("number", &["+1555", "0109999"]),
            pepper.tag("address", &["+1555", "0109999"]),
            pepper.tag("number", &["+15550", "109999"]),
            pepper.tag("number", &["+15550109999"]),
        ] {
            assert_ne!(tag, other);
        }
    }
}
