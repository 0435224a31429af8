//! What the tests over HTTP are made of, and what else looks at a whole system: random faults, load, a deployment.

#![expect(
    clippy::missing_errors_doc,
    clippy::must_use_candidate,
    reason = "nobody but this workspace uses it, and its errors are shown to people, never matched"
)]

pub mod chaos;
pub mod deployment;
pub mod harness;
pub mod proxy;
pub mod single;
