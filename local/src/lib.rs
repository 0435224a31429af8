//! The local stack: the whole system on one machine, from well-kept programs and a little supervision.
//!
//! A [`System`] is one running system over [`Services`]. Tests start their own:
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use local::{Services, Settings, System};
//!
//! let services = Services::from_env()?; // of `cargo local test`
//! let settings = Settings::default().with("BASIC_DAILY_MESSAGES", 40);
//! let system = System::start(&services, settings).await?;
//! let answer = system.client().get(system.url("/user/me")).send().await?;
//! assert_eq!(answer.status(), 401);
//! # Ok(())
//! # }
//! ```
//!
//! Everything a system started ends when it is dropped, and also when the process is killed.

mod aws;
pub mod bench;
pub mod contract;
pub mod conversation;
pub mod deployment;
mod events;
pub mod faults;
mod functions;
mod gateway;
pub mod gemini;
pub mod keys;
mod logs;
mod postgres;
mod process;
pub mod progress;
mod pump;
mod redis;
mod runtime;
mod services;
mod settings;
pub mod stripe;
mod system;
mod tools;
pub mod workspace;

use std::sync::Arc;

use anyhow::{Context, Result};
use reqwest::{Client, ClientBuilder};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

pub use aws::Aws;
pub use functions::timeout_of;
pub use postgres::{Postgres, connect};
pub use process::Ports;
pub use pump::{Gate, Paused};
pub use redis::Redis;
pub use services::Services;
pub use settings::{Queue, STAND_IN_STRIPE_KEY, Settings, State, Variables, environment_file};
pub use system::System;

/// An HTTP client for this machine's servers: it trusts nobody else.
///
/// # Errors
/// When TLS cannot be set up.
pub fn client() -> Result<Client> {
    builder()?.build().context("cannot make an HTTP client")
}

fn builder() -> Result<ClientBuilder> {
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Ok(Client::builder().tls_backend_preconfigured(tls).no_proxy())
}
