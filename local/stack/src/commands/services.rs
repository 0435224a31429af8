//! Starts the services alone, so that a plain `cargo test`, or an editor, runs tests without starting any.

use std::{future, process::ExitCode};

use anyhow::Result;

use super::Options;
use crate::{
    machine::{ports::Ports, workspace::Workspace},
    services::Services,
};

/// Starts services, prints the variables of the tests for a shell, and stays until Ctrl-C.
pub async fn services(options: &Options) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let services = Services::start(&workspace, Ports::Free).await?;
    for (name, value) in services.test_variables(&options.settings(Ports::Free)).await? {
        println!("export {name}='{}'", value.replace('\'', r"'\''"));
    }
    eprintln!("Serving until Ctrl-C.");
    future::pending().await
}
