//! Bad input over HTTP: whatever is sent, the answer is the documented problem, never a 500.
//!
//! The tests share one running system. Every answer is held to `openapi.yaml`, and where a test says "every endpoint",
//! the endpoints are those of `openapi.yaml`, so a new one is covered from its first day.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on must stop"
)]

mod fields;
mod queries;
mod random;
mod samples;
mod secrets;
mod stack;
mod variables;
