//! Tests payments against the Stripe stand-in: checkout, portal, webhooks, and the plan that follows from them.

mod account;
mod checkout;
mod convergence;
mod lifecycle;
mod outages;
mod signature;
mod stand_in;
mod webhook;

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970, as Stripe counts.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs()
}
