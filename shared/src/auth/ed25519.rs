//! Signs and verifies access tokens with ring's Ed25519, which TLS brings along. The choices that come with
//! `jsonwebtoken` would add RSA and three elliptic curves to every function, and a fifth to its size.

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{ErrorKind, Result},
    signature,
};
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| signer(*algorithm, key),
    verifier_factory: |algorithm, key| verifier(*algorithm, key),
    key_utils: KeyUtils::new_unimplemented(),
};

/// Installs this signer and verifier for `jsonwebtoken`, which needs them before it makes a key. Repeating it changes
/// nothing.
pub(super) fn install() {
    let _ = PROVIDER.install_default(); // fails when it is installed already
}

fn signer(algorithm: Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    only_eddsa(algorithm)?;
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.as_bytes());
    Ok(Box::new(Signer(pair.map_err(|_| ErrorKind::InvalidEddsaKey)?)))
}

fn verifier(algorithm: Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    only_eddsa(algorithm)?;
    let key = key.try_get_as_bytes()?.to_vec();
    Ok(Box::new(Verifier(UnparsedPublicKey::new(&ED25519, key))))
}

fn only_eddsa(algorithm: Algorithm) -> Result<()> {
    match algorithm {
        Algorithm::EdDSA => Ok(()),
        _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
    }
}

struct Signer(Ed25519KeyPair);

impl signature::Signer<Vec<u8>> for Signer {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, signature::Error> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

impl JwtSigner for Signer {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

struct Verifier(UnparsedPublicKey<Vec<u8>>);

impl signature::Verifier<Vec<u8>> for Verifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        let verified = self.0.verify(message, signature);
        verified.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Verifier {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

#[cfg(test)]
mod tests {
    //! Tests against the example of RFC 8037, appendix A.

    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    use jsonwebtoken::crypto::verify;

    use super::*;

    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const MESSAGE: &[u8] = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    const SIGNATURE: &str = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

    #[test]
    fn the_standards_signature_is_right_and_any_other_is_not() {
        install();
        let key = DecodingKey::from_ed_components(X).unwrap();
        let verify = |signature: &str| verify(signature, MESSAGE, &key, Algorithm::EdDSA);
        assert!(verify(SIGNATURE).unwrap());
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(SIGNATURE).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert!(!verify(&BASE64_URL_SAFE_NO_PAD.encode(&bytes)).unwrap());
            bytes[at] ^= 1;
        }
        assert!(!verify("").unwrap());
    }

    #[test]
    fn other_algorithms_are_refused() {
        let key = DecodingKey::from_secret(b"secret");
        assert!(verifier(Algorithm::HS256, &key).is_err());
    }
}
