//! Forged access tokens. Each differs from a good one in one thing, and no endpoint takes it.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use local_stack::keys::Keys;
use reqwest::Method;
use ring::{hmac, signature::Ed25519KeyPair};
use serde_json::{Value, json};

use local_suite::harness::{Stack, text};

use crate::input::Sender;

on!(sqs:
    a_token_made_like_the_issuers_is_good,
    a_forged_token_is_refused,
    a_header_that_is_no_bearer_token_is_refused,
    every_endpoint_that_needs_a_token_refuses_to_do_without_and_to_be_fooled,
);

const UNAUTHENTICATED: (u16, &str) = (401, "unauthenticated");

/// What a token is made of.
#[derive(Clone)]
struct Parts {
    header: Value,
    claims: Value,
    key: Value,
}

impl Parts {
    /// Those of a good token for the user.
    fn good(sender: &Sender<'_>) -> Self {
        let mut parts = sender.user.token.split('.');
        let mut part = || {
            let json = BASE64.decode(parts.next().unwrap()).unwrap();
            serde_json::from_slice(&json).unwrap()
        };
        let (header, claims) = (part(), part());
        let key = &sender.stack.system.variables()["JWT_PRIVATE_KEY"];
        let key = serde_json::from_str(key).unwrap();
        Self { header, claims, key }
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> String {
        let mut parts = self.clone();
        change(&mut parts);
        parts.token()
    }

    /// What is signed.
    fn payload(&self) -> String {
        let [header, claims] = [&self.header, &self.claims].map(|part| BASE64.encode(part.to_string()));
        format!("{header}.{claims}")
    }

    fn token(&self) -> String {
        let seed = BASE64.decode(text(&self.key["d"])).unwrap();
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        self.signed_by(|payload| pair.sign(payload).as_ref().to_vec())
    }

    fn signed_by(&self, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let payload = self.payload();
        let signature = BASE64.encode(sign(payload.as_bytes()));
        format!("{payload}.{signature}")
    }
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs().try_into().unwrap()
}

/// Tokens with a right signature that lack something or say something wrong.
fn wrong_claims(good: &Parts) -> Vec<(String, String)> {
    let mut tokens = Vec::new();
    let mut forge = |in_header: bool, name: &str, value: Option<Value>| {
        let token = good.with(|parts| {
            let part = if in_header { &mut parts.header } else { &mut parts.claims };
            let part = part.as_object_mut().unwrap();
            assert!(part.remove(name).is_some() || name == "nbf", "good ones have {name}");
            part.extend(value.iter().map(|value| (name.to_owned(), value.clone())));
        });
        tokens.push((format!("{name}: {value:?}"), token));
    };
    for name in ["iss", "aud", "sub", "sid", "exp"] {
        forge(false, name, None);
        for value in [json!(null), json!(""), json!("other"), json!(["other"]), json!({})] {
            forge(false, name, Some(value));
        }
    }
    for name in ["typ", "kid", "alg"] {
        forge(true, name, None);
        for value in [json!(null), json!(""), json!("JWT"), json!(["at+jwt"])] {
            forge(true, name, Some(value));
        }
    }
    forge(false, "exp", Some(json!(now() - 1)));
    forge(false, "exp", Some(json!(0)));
    forge(false, "nbf", Some(json!(now() + 60)));
    tokens
}

/// Tokens that are not signed by the issuer.
fn wrong_signatures(sender: &Sender<'_>, good: &Parts) -> Vec<(String, String)> {
    let public = &sender.stack.system.variables()["JWT_PUBLIC_KEYS"];
    let x = text(&good.key["x"]);
    let raw = BASE64.decode(x).unwrap();
    let pem = {
        let spki = [b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".as_slice(), &raw].concat();
        let spki = base64::engine::general_purpose::STANDARD.encode(spki);
        format!("-----BEGIN PUBLIC KEY-----\n{spki}\n-----END PUBLIC KEY-----\n")
    };
    let token = good.token();
    let (payload, signature) = token.rsplit_once('.').unwrap();
    let mut tokens = vec![
        ("no signature".to_owned(), format!("{payload}.")),
        ("two parts".into(), payload.into()),
        ("four parts".into(), format!("{token}.{signature}")),
        ("half a signature".into(), format!("{payload}.{}", &signature[..40])),
        ("another's claims".into(), {
            let other = good.with(|parts| parts.claims["sub"] = json!("019b0000-0000-7000-8000-000000000001"));
            format!("{}.{signature}", other.rsplit_once('.').unwrap().0)
        }),
    ];
    for algorithm in ["none", "None", "NONE"] {
        let mut parts = good.clone();
        parts.header["alg"] = json!(algorithm);
        tokens.push((format!("alg {algorithm}"), format!("{}.", parts.payload())));
        tokens.push((format!("alg {algorithm}, signed"), parts.token()));
    }
    for (what, secret) in [
        ("bytes", raw.as_slice()),
        ("text", x.as_bytes()),
        ("PEM", pem.as_bytes()),
        ("set", public.as_bytes()),
        ("emptiness", b""),
    ] {
        let mut parts = good.clone();
        parts.header["alg"] = json!("HS256");
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let token = parts.signed_by(|payload| hmac::sign(&key, payload).as_ref().to_vec());
        tokens.push((format!("HS256 with the public key's {what}"), token));
    }
    let other = Keys::generate().unwrap();
    let other_key: Value = serde_json::from_str(&other.private).unwrap();
    tokens.push(("another key".into(), good.with(|parts| parts.key = other_key.clone())));
    tokens.push((
        "another key, brought along".into(),
        good.with(|parts| {
            parts.key = other_key.clone();
            parts.header["jwk"] = serde_json::from_str::<Value>(&other.public).unwrap()["keys"][0].clone();
            parts.header["kid"] = other_key["kid"].clone();
        }),
    ));
    tokens
}

async fn status(sender: &Sender<'_>, authorization: &str) -> u16 {
    let request = sender.stack.request(Method::GET, "/user/me").header("authorization", authorization);
    sender.user.send(request).await.status
}

pub async fn a_token_made_like_the_issuers_is_good(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    let good = Parts::good(sender);
    assert_eq!(status(sender, &format!("Bearer {}", good.token())).await, 200);
    assert_eq!(status(sender, &format!("bearer {}", good.token())).await, 200);
    let valid_since = good.with(|parts| parts.claims["nbf"] = json!(now() - 1));
    assert_eq!(status(sender, &format!("Bearer {valid_since}")).await, 200);
}

pub async fn a_forged_token_is_refused(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    let good = Parts::good(sender);
    let mut forged = wrong_claims(&good);
    forged.extend(wrong_signatures(sender, &good));
    let mut accepted = Vec::new();
    for (what, token) in forged {
        if status(sender, &format!("Bearer {token}")).await != 401 {
            accepted.push(what);
        }
    }
    assert_eq!(accepted, [""; 0]);
}

pub async fn a_header_that_is_no_bearer_token_is_refused(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    let token = &sender.user.token;
    for header in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Bearer a.b.c",
        "Bearer ..",
        "Basic dXNlcjpwYXNzd29yZA==",
        token,
        &format!("Bearer{token}"),
        &format!("Token {token}"),
        &format!("Bearer {token} {token}"),
        &format!("Bearer {}", "r".repeat(43)),
        &format!("Bearer {}", "a".repeat(6_000)),
    ] {
        assert_eq!(status(sender, header).await, 401, "{header}");
    }
}

pub async fn every_endpoint_that_needs_a_token_refuses_to_do_without_and_to_be_fooled(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    let good = Parts::good(sender);
    let mut unsigned = good.clone();
    unsigned.header["alg"] = json!("none");
    let unsigned = format!("{}.", unsigned.payload());
    let expired = good.with(|parts| parts.claims["exp"] = json!(now() - 1));
    let elsewhere = good.with(|parts| parts.claims["aud"] = json!("other"));
    let mut endpoints = 0;
    for endpoint in sender.endpoints().into_iter().filter(|endpoint| endpoint.needs_token) {
        for token in [None, Some(&unsigned), Some(&expired), Some(&elsewhere)] {
            let request = sender.stack.request(endpoint.method.clone(), &endpoint.path);
            let request = match token {
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            let request = match endpoint.body {
                Some((_, example)) => request.json(example),
                None => request,
            };
            let response = sender.user.send(request).await;
            assert_eq!(response.problem(), UNAUTHENTICATED, "{} {}", endpoint.method, endpoint.path);
        }
        endpoints += 1;
    }
    assert!(endpoints >= 11, "the endpoints were found");
    assert_eq!(sender.user.get("/user/me").await.status, 200, "nothing was done");
}
