//! Holds what two functions share, and the ports behind which the vendors stay.
//!
//! Functions depend on the ports and on [`http`]; those depend on [`domain`], which does no I/O. Nothing here keeps
//! state between requests except connections: Postgres holds the truth, the [state store](state) what is short-lived,
//! and the [queue] only wakes somebody up.

pub mod answering;
pub mod auth;
mod aws;
pub mod billing;
pub mod chatroom_cache;
pub mod cloudformation;
pub mod config;
pub mod database;
pub mod domain;
pub mod error;
mod events;
pub mod gemini;
pub mod http;
pub mod messages;
pub mod queue;
mod redis;
pub mod secrets;
pub mod state;
pub mod telemetry;
pub mod testing;
mod tls;

pub use error::{Error, Result};
pub use events::run;
pub use http::{serve, serve_streaming};
