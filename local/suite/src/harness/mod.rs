//! Talks to a running system: one way to start it, to sign a user up and to wait for a reply, for the tests, the
//! demonstration and the random faults.
//!
//! Nothing here returns an error. When the system fails, the caller panics with the request and the response: every
//! caller is a test, or as good as one.

#![expect(clippy::missing_panics_doc, reason = "everything here panics when the system is wrong")]

mod api;
pub mod contract;
mod payments;
mod stack;
mod user;

use std::{
    fmt::Debug,
    fs,
    time::{Duration, Instant},
};

use local_stack::machine::workspace::root;
use serde_json::Value;
use tokio::time::sleep;

pub use api::{Api, Codes, Response, Sent, text};
pub use stack::{Stack, run};
pub use user::{PASSWORD, User};

/// The longest wait for anything: for a schedule of one minute and its effects.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// Waits until a condition holds.
pub async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    eventually(what, async || holds().await.then_some(())).await;
}

/// Waits until a value is there, and returns it.
pub async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "it never happened: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Reads a function's sample event.
pub fn sample(function: &str) -> Value {
    let path = root().join("events").join(function).with_extension("json");
    let event = must(fs::read(&path), function);
    must(serde_json::from_slice(&event), function)
}

/// Unwraps a result that must not fail.
fn must<T, E: Debug>(outcome: Result<T, E>, what: &str) -> T {
    outcome.unwrap_or_else(|error| panic!("{what}: {error:?}"))
}
