//! Sends requests that are wrong at random to every endpoint: none may be a 500.
//!
//! They are text, since the local gateway itself refuses to pass other bodies and headers on.

use fastrand::Rng;
use reqwest::Url;
use serde_json::Value;

use local_suite::harness::Stack;

use super::{Endpoint, Sender};

on_every_kind!(requests_that_are_wrong_at_random_are_never_a_fault_of_ours);

/// Requests to each endpoint.
const REQUESTS: usize = 12;

fn text(random: &mut Rng) -> String {
    let length = random.usize(..12);
    (0..length).map(|_| random.char(..)).collect()
}

fn value(random: &mut Rng) -> Value {
    match random.u32(..7) {
        0 => Value::Null,
        1 => random.bool().into(),
        2 => random.i64(..).into(),
        3 => (f64::from_bits(random.u64(..))).into(),
        4 => Value::from(vec![text(random)]),
        _ => text(random).into(),
    }
}

/// Replaces a member of the example, changes some bytes, or cuts its end off.
fn body(random: &mut Rng, example: &Value) -> String {
    let mut object = example.clone();
    let names: Vec<_> = example.as_object().unwrap().keys().cloned().collect();
    object[random.choice(names).unwrap_or_default()] = value(random);
    let mut body = object.to_string().into_bytes();
    for _ in 0..random.usize(..3) {
        let at = random.usize(..body.len());
        body[at] = random.u8(..);
    }
    if random.u32(..4) == 0 {
        body.truncate(random.usize(..body.len()));
    }
    String::from_utf8_lossy(&body).into_owned()
}

async fn response(sender: &Sender<'_>, endpoint: &Endpoint, random: &mut Rng) -> (String, u16) {
    let path = &endpoint.path;
    let mut url = Url::parse(&sender.stack.system.url(path)).unwrap();
    if random.bool() {
        let names = ["limit", "cursor", "wait"];
        let name = names[random.usize(..names.len())];
        url.query_pairs_mut().append_pair(name, &text(random));
    }
    if random.u32(..3) == 0 && path.starts_with("/chatroom/") {
        let mut segments = url.path_segments_mut().unwrap();
        segments.pop().push(&format!("x{}", text(random)));
    }
    let mut request = sender.stack.client.request(endpoint.method.clone(), url);
    if random.u32(..5) > 0 {
        request = request.bearer_auth(&sender.user.token);
    }
    let headers = ["idempotency-key", "authorization", "stripe-signature", "if-none-match"];
    let name = headers[random.usize(..headers.len())];
    let length = random.usize(..40);
    let value: String = (0..length).map(|_| random.char(' '..='~')).collect();
    request = request.header(name, value);
    if let Some((_, example)) = endpoint.body {
        request = request.header("content-type", "application/json");
        request = request.body(body(random, example));
    }
    let sent = format!("{request:?}");
    (sent, request.send().await.expect("a response").status().as_u16())
}

pub async fn requests_that_are_wrong_at_random_are_never_a_fault_of_ours(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    let seed = fastrand::u64(..);
    let mut random = Rng::with_seed(seed);
    let endpoints = sender.endpoints().into_iter();
    // What takes the account or the room away would leave nothing for the others.
    for endpoint in endpoints.filter(|endpoint| endpoint.method != reqwest::Method::DELETE) {
        for _ in 0..REQUESTS {
            let (sent, status) = response(sender, &endpoint, &mut random).await;
            assert!(status < 500, "seed {seed}: {sent} was answered {status}");
        }
    }
}
