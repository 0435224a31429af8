//! Issues and verifies access tokens: JWTs signed with Ed25519 (`EdDSA`), valid for 15 minutes.
//!
//! Verification follows RFC 8725 (best practices) and RFC 9068 (`at+jwt`): the verifier fixes the algorithm, whatever
//! the token says, and `kid`, `typ`, `iss`, `aud`, `exp` and `nbf` must all be right. Keys are JSON Web Keys: functions
//! that only verify hold the public ones, and several of them may be valid while keys roll.

use std::{collections::HashMap, str::FromStr, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use lambda_http::{Request, http::header};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::ed25519;
use crate::{
    Error, Result,
    config::{self, ConfigError},
    domain::{SessionId, UserId},
};

/// How long an access token is valid.
pub const LIFETIME: Duration = Duration::from_mins(15);

const ISSUER: &str = "chat-backend";
const AUDIENCE: &str = "chat-api";
const TYPE: &str = "at+jwt";

const PRIVATE_KEY: &str = "JWT_PRIVATE_KEY";

/// Precedes the 32 bytes of a private Ed25519 key in PKCS #8 (RFC 8410).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    sid: SessionId,
    iat: i64,
    exp: i64,
}

/// Identifies the sender of a request by a verified token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user: UserId,
    /// The session in which the user signed in.
    pub session: SessionId,
}

/// Signs access tokens. Only the functions that sign somebody in have the key for it.
pub struct TokenIssuer {
    key: EncodingKey,
    header: Header,
}

#[derive(Deserialize)]
struct PrivateKey {
    kid: String,
    d: String,
}

impl TokenIssuer {
    /// Reads the key in `JWT_PRIVATE_KEY`, a private JSON Web Key (RFC 8037).
    ///
    /// # Errors
    /// When the variable is missing or no such key.
    pub fn from_env() -> Result<Self, ConfigError> {
        let key = config::secret(PRIVATE_KEY)?;
        Self::with_key(key.expose_secret())
    }

    /// Reads a private JSON Web Key.
    ///
    /// # Errors
    /// When it is no such key.
    pub fn with_key(text: &str) -> Result<Self, ConfigError> {
        // Parser messages may quote what they parsed, so they are not passed on.
        let no_key = || ConfigError::malformed(PRIVATE_KEY, "not a private Ed25519 JSON Web Key");
        let key: PrivateKey = serde_json::from_str(text).map_err(|_| no_key())?;
        ed25519::install();
        let seed = BASE64_URL_SAFE_NO_PAD.decode(key.d).map_err(|_| no_key())?;
        if seed.len() != 32 {
            return Err(no_key());
        }
        Ok(Self {
            key: EncodingKey::from_ed_der(&[&PKCS8_PREFIX, seed.as_slice()].concat()),
            header: Header { typ: Some(TYPE.into()), kid: Some(key.kid), ..Header::new(Algorithm::EdDSA) },
        })
    }

    /// Signs a token for `caller`, valid for [`LIFETIME`] from now.
    ///
    /// # Errors
    /// When signing fails, which is a defect.
    pub fn issue(&self, caller: Caller) -> Result<String> {
        let now = OffsetDateTime::now_utc();
        let claims = Claims {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            sub: caller.user,
            sid: caller.session,
            iat: now.unix_timestamp(),
            exp: (now + LIFETIME).unix_timestamp(),
        };
        encode(&self.header, &claims, &self.key).map_err(Error::internal)
    }
}

/// Verifies access tokens.
pub struct TokenVerifier {
    keys: HashMap<String, DecodingKey>,
    validation: Validation,
}

#[derive(Deserialize)]
struct PublicKeys {
    keys: Vec<PublicKey>,
}

#[derive(Deserialize)]
struct PublicKey {
    kid: String,
    x: String,
}

impl FromStr for PublicKeys {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text)
    }
}

impl TokenVerifier {
    /// Reads the keys in `JWT_PUBLIC_KEYS`, a JSON Web Key Set of Ed25519 keys.
    ///
    /// # Errors
    /// When the variable is missing, no such set, or empty.
    pub fn from_env() -> Result<Self, ConfigError> {
        const NAME: &str = "JWT_PUBLIC_KEYS";
        let set: PublicKeys = config::required(NAME)?;
        ed25519::install();
        let mut keys = HashMap::new();
        for key in set.keys {
            let decoding =
                DecodingKey::from_ed_components(&key.x).map_err(|error| ConfigError::malformed(NAME, error))?;
            keys.insert(key.kid, decoding);
        }
        if keys.is_empty() {
            return Err(ConfigError::malformed(NAME, "it has no keys"));
        }
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = 0;
        Ok(Self { keys, validation })
    }

    /// Returns who sent the request, by its `Authorization: Bearer` header.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] when there is no token, or it is not acceptable for whatever reason.
    pub fn authenticate(&self, request: &Request) -> Result<Caller> {
        let token = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or(Error::Unauthenticated("This needs an access token."))?;
        self.verify(token).ok_or(Error::Unauthenticated("The access token is not valid, or no longer."))
    }

    fn verify(&self, token: &str) -> Option<Caller> {
        let header = decode_header(token).ok()?;
        if header.typ.as_deref() != Some(TYPE) {
            return None;
        }
        let key = self.keys.get(&header.kid?)?;
        let claims = decode::<Claims>(token, key, &self.validation).ok()?.claims;
        Some(Caller { user: claims.sub, session: claims.sid })
    }
}
