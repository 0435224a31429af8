//! Makes pairs of keys for access tokens: Ed25519, as JSON Web Keys (RFC 8037), named by their thumbprint (RFC 7638).

use anyhow::{Result, anyhow};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    digest::{SHA256, digest},
    signature::{Ed25519KeyPair, KeyPair},
};
use serde_json::json;

/// The values of `JWT_PRIVATE_KEY` and `JWT_PUBLIC_KEYS`.
pub struct Keys {
    /// A key on one line, for the functions that issue tokens.
    pub private: String,
    /// A key set on one line, for every function that verifies them.
    pub public: String,
}

impl Keys {
    /// Makes a new pair.
    pub fn generate() -> Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| anyhow!("no random numbers: {error}"))?;
        Self::from_seed(&seed)
    }

    fn from_seed(seed: &[u8; 32]) -> Result<Self> {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed).map_err(|error| anyhow!("this seed makes no key: {error}"))?;
        let d = URL_SAFE_NO_PAD.encode(seed);
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        // The thumbprint is over exactly these members in this order.
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(digest(&SHA256, members.as_bytes()));
        let private = json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x, "d": d});
        let public = json!({"keys": [{
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x,
        }]});
        Ok(Self { private: private.to_string(), public: public.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 8037, appendix A.
    #[test]
    fn the_example_of_the_standard_has_its_public_key_and_thumbprint() {
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let keys = Keys::from_seed(&seed.try_into().unwrap()).unwrap();
        for key in [&keys.private, &keys.public] {
            assert!(key.contains("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"), "{key}");
            assert!(key.contains("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"), "{key}");
            assert!(!key.contains('\n'));
        }
        assert!(!keys.public.contains("nWGxne"), "the public set has the private key");
    }
}
