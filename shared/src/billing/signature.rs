//! Verifies Stripe's webhook signature: `Stripe-Signature: t=…,v1=…[,v1=…]`, where `v1` is the HMAC-SHA-256, with the
//! endpoint's secret as its key, of the timestamp, a full stop and the body as it came
//! (<https://docs.stripe.com/webhooks#verify-manually>).
//!
//! It is verified before the body is looked at. While a secret rolls, two are valid, and Stripe signs with both.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use time::OffsetDateTime;

use crate::config::{self, ConfigError};

/// Limits how far the time of signing may be from now, in seconds: an event that somebody recorded must not work later.
const TOLERANCE_SECONDS: u64 = 300;

/// Why a signature does not prove that a body is Stripe's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// There is no signature, or it cannot be read.
    #[error("The Stripe-Signature header is missing or malformed.")]
    Unsigned,
    /// It was signed too long ago, or the clocks differ.
    #[error("The Stripe-Signature is more than 5 minutes old.")]
    Outdated,
    /// No signature was made with a secret of ours over this body.
    #[error("The Stripe-Signature does not match the body.")]
    Mismatched,
}

impl From<Forged> for crate::Error {
    fn from(forged: Forged) -> Self {
        Self::Malformed(forged.to_string())
    }
}

/// The secrets that Stripe may sign with.
pub struct SigningSecrets(Vec<SecretString>);

impl SigningSecrets {
    /// Reads the secrets in `STRIPE_WEBHOOK_SECRET`: one, or while it rolls several, with commas in between.
    ///
    /// # Errors
    /// When the variable is missing or holds no secret.
    pub fn from_env() -> Result<Self, ConfigError> {
        const NAME: &str = "STRIPE_WEBHOOK_SECRET";
        let secrets = config::secret(NAME)?;
        let secrets = secrets.expose_secret().split(',').map(str::trim);
        let secrets: Vec<_> = secrets.filter(|secret| !secret.is_empty()).map(SecretString::from).collect();
        if secrets.is_empty() {
            // Without a secret nothing would match; better to say so at start.
            return Err(ConfigError::malformed(NAME, "no secret in it"));
        }
        Ok(Self(secrets))
    }

    /// Verifies that Stripe sent `body`, which must be the bytes as they came.
    ///
    /// # Errors
    /// When it did not, or too long ago.
    pub fn verify(&self, header: &str, body: &[u8]) -> Result<(), Forged> {
        self.verify_at(header, body, OffsetDateTime::now_utc().unix_timestamp())
    }

    fn verify_at(&self, header: &str, body: &[u8], now: i64) -> Result<(), Forged> {
        let mut timestamp = None;
        let mut signatures = Vec::new();
        for (name, value) in header.split(',').filter_map(|part| part.split_once('=')) {
            match name.trim() {
                "t" => timestamp = Some(value.trim()),
                "v1" => signatures.extend(decode_hex(value.trim())),
                // Other schemes are not for us to trust.
                _ => {}
            }
        }
        let timestamp = timestamp.ok_or(Forged::Unsigned)?;
        let signed_at: i64 = timestamp.parse().map_err(|_| Forged::Unsigned)?;
        if signatures.is_empty() {
            return Err(Forged::Unsigned);
        }
        if !self.match_any(&signatures, timestamp, body) {
            return Err(Forged::Mismatched);
        }
        if now.abs_diff(signed_at) > TOLERANCE_SECONDS {
            return Err(Forged::Outdated);
        }
        Ok(())
    }

    fn match_any(&self, signatures: &[[u8; 32]], timestamp: &str, body: &[u8]) -> bool {
        self.0.iter().any(|secret| {
            let Ok(mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) else {
                return false;
            };
            let mac = mac.chain_update(timestamp).chain_update(b".").chain_update(body);
            // In constant time.
            let is_right = |signature: &[u8; 32]| mac.clone().verify_slice(signature).is_ok();
            signatures.iter().any(is_right)
        })
    }
}

/// Reads 32 bytes in hexadecimal.
fn decode_hex(text: &str) -> Option<[u8; 32]> {
    let text = text.as_bytes();
    if text.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    //! Tests signatures that were made outside of this program:
    //! `printf '1700000000.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_one`.

    use super::*;

    const BODY: &[u8] = br#"{"id":"evt_1"}"#;
    const NOW: i64 = 1_700_000_000;
    const BY_ONE: &str = "401fbbceeb3818dc562ff77127ba1c62e47e24c9c6cde4d7a6eba85e32dbd058";
    const BY_TWO: &str = "4fb9aa7e8a9678e685ef5c7eafa19ac1eb7c0564196cbe246ca08c2fd799eaf3";
    const WRONG: &str = "00000000000000000000000000000000000000000000000000000000000000ff";

    fn verify(header: &str, body: &[u8], now: i64) -> Result<(), Forged> {
        let secrets = ["whsec_one", "whsec_two"].map(SecretString::from);
        SigningSecrets(secrets.into()).verify_at(header, body, now)
    }

    #[test]
    fn a_signature_by_either_secret_is_accepted() {
        for signature in [BY_ONE, BY_TWO] {
            let header = format!("t={NOW},v1={signature}");
            assert_eq!(verify(&header, BODY, NOW + 299), Ok(()));
        }
    }

    #[test]
    fn one_right_signature_among_wrong_ones_is_enough() {
        for signatures in [[WRONG, BY_TWO], [BY_ONE, WRONG], ["", BY_ONE], ["zz", BY_ONE]] {
            let header = format!("t={NOW}, v1={}, v0=ab, v1={}", signatures[0], signatures[1]);
            assert_eq!(verify(&header, BODY, NOW), Ok(()), "{header}");
        }
    }

    #[test]
    fn another_body_or_time_is_refused() {
        let header = format!("t={NOW},v1={BY_ONE}");
        assert_eq!(verify(&header, b"{\"id\":\"evt_2\"}", NOW), Err(Forged::Mismatched));
        let header = format!("t={},v1={BY_ONE}", NOW + 1);
        assert_eq!(verify(&header, BODY, NOW), Err(Forged::Mismatched));
        let header = format!("t={NOW},v1={WRONG}");
        assert_eq!(verify(&header, BODY, NOW), Err(Forged::Mismatched));
        let header = format!("t={NOW},v0={BY_ONE}");
        assert_eq!(verify(&header, BODY, NOW), Err(Forged::Unsigned));
    }

    #[test]
    fn an_old_one_and_one_from_the_future_are_refused() {
        let header = format!("t={NOW},v1={BY_ONE}");
        for now in [NOW + 301, NOW - 301] {
            assert_eq!(verify(&header, BODY, now), Err(Forged::Outdated));
        }
    }

    #[test]
    fn what_is_no_signature_is_refused() {
        for header in ["", ",", "=", "t=", "v1=", "t=1", "t=x,v1=y", "t=99999999999999999999,v1=ab", "v1"] {
            assert_eq!(verify(header, BODY, NOW), Err(Forged::Unsigned), "{header}");
        }
    }
}
