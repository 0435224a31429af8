//! Delivers events to the webhook: signed, all at once, and again until that succeeds.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use reqwest::{Client, header::CONTENT_TYPE};
use ring::hmac;
use tokio::{
    sync::mpsc::UnboundedReceiver,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    Server,
    account::{Account, now},
};
use crate::lock;

/// Stripe tries for three days, with growing pauses; nobody waits that long here.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The time that Stripe waits for a response, and that its payment page waits for the deliveries.
const TIMEOUT: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(10);

/// The webhook, and the statuses of its responses.
pub struct Deliveries {
    /// The endpoint.
    pub url: String,
    /// The endpoint's secrets: one, or two with a comma in between while it rolls.
    pub secrets: String,
    client: Client,
    attempts: Mutex<HashMap<String, Vec<u16>>>,
}

/// Signs a body as Stripe's header does (<https://docs.stripe.com/webhooks#verify-manually>). Several secrets have commas in
/// between, and each signs.
pub fn signature(secrets: &str, body: &str) -> String {
    let time = now();
    let signatures = secrets.split(',').map(|secret| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.trim().as_bytes());
        let tag = hmac::sign(&key, format!("{time}.{body}").as_bytes());
        let start = ",v1=".to_owned();
        tag.as_ref().iter().fold(start, |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}"); // writing to a string does not fail
            hex
        })
    });
    format!("t={time}{}", signatures.collect::<String>())
}

impl Deliveries {
    /// Prepares deliveries to an endpoint.
    pub fn new(url: String, secrets: &str, client: Client) -> Self {
        Self { url, secrets: secrets.to_owned(), client, attempts: Mutex::default() }
    }

    /// Delivers an event once and returns the response's status, or 0 without a response.
    pub async fn attempt(&self, id: &str, payload: String) -> u16 {
        let request = self.client.post(&self.url).timeout(TIMEOUT);
        let request = request
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .header("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
            .header("stripe-signature", signature(&self.secrets, &payload));
        let status = request.body(payload).send().await.map_or(0, |answer| answer.status().as_u16());
        lock(&self.attempts).entry(id.to_owned()).or_default().push(status);
        status
    }

    /// Returns the statuses of an event's deliveries so far.
    pub fn attempts(&self, id: &str) -> Vec<u16> {
        lock(&self.attempts).get(id).cloned().unwrap_or_default()
    }

    fn succeeded(&self, id: &str) -> bool {
        self.attempts(id).into_iter().any(is_success)
    }
}

/// Tells whether the endpoint took it.
pub fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// Delivers every new event, until it is dropped.
pub async fn deliver_all(server: Arc<Server>, mut new_events: UnboundedReceiver<String>) {
    let mut under_way = JoinSet::new();
    while let Some(id) = new_events.recv().await {
        under_way.spawn(deliver(server.clone(), id));
        while under_way.try_join_next().is_some() {}
    }
}

async fn deliver(server: Arc<Server>, id: String) {
    let mut pause = FIRST_PAUSE;
    while let Some(payload) = server.payload(&id) {
        if is_success(server.deliveries.attempt(&id, payload).await) {
            return;
        }
        sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

impl Server {
    /// Returns an event's body, byte for byte.
    pub fn payload(&self, id: &str) -> Option<String> {
        let account = lock(&self.account);
        account.events.iter().find(|(found, _)| found == id).map(|(_, payload)| payload.clone())
    }

    /// Acts on the account and waits a while until the events of that are delivered, as Stripe's payment page does
    /// before it goes on. Those that are held are not waited for.
    pub async fn and_deliver<T>(&self, act: impl FnOnce(&mut Account) -> T) -> T {
        let (outcome, events) = {
            let mut account = lock(&self.account);
            let before = account.events.len();
            let outcome = act(&mut account);
            let new: Vec<_> = match account.held {
                Some(_) => Vec::new(),
                None => account.events[before..].iter().map(|(id, _)| id.clone()).collect(),
            };
            (outcome, new)
        };
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && !events.iter().all(|id| self.deliveries.succeeded(id)) {
            sleep(Duration::from_millis(10)).await;
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_signs_while_one_rolls() {
        let header = signature("whsec_one, whsec_two", "{}");
        let signatures: Vec<_> = header.split(",v1=").skip(1).collect();
        assert!(header.starts_with("t="));
        assert_eq!(signatures.len(), 2);
        assert!(signatures.iter().all(|signature| signature.len() == 64));
        assert_ne!(signatures[0], signatures[1]);
    }
}
