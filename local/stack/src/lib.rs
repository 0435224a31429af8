//! The local stack: the whole system on one machine, from well-kept programs and a little supervision.
//!
//! A [`System`](system::System) is one running system over [`Services`](services::Services). Tests start their own:
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use local_stack::{services::Services, settings::Settings, system::System};
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
//!
//! A module uses only those that stand before it in this list.

#![expect(
    clippy::missing_errors_doc,
    clippy::must_use_candidate,
    reason = "nobody but this workspace uses it, and its errors are shown to people, never matched"
)]

pub mod machine;

pub mod keys;
pub mod settings;

pub mod sam;

pub mod services;

pub mod lambda;

pub mod system;

pub mod reference;

pub mod commands;
