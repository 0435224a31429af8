//! Runs the tests against private services.

use std::process::ExitCode;

use anyhow::{Context, Result};
use local::machine::{
    ports::Ports,
    workspace::{WORKSPACE_WORKBENCH, Workspace},
};

use super::{Options, build_and_start, exit_code};

/// Builds the functions, starts services, and runs `cargo test` with them.
pub async fn test(options: &Options, arguments: &[String]) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let services = build_and_start(&workspace, Ports::Free, None).await?;
    let mut child = workspace
        .cargo("test")
        .args(["--workspace", "--features", WORKSPACE_WORKBENCH])
        .args(arguments)
        .envs(services.test_variables(&options.settings(Ports::Free)).await?)
        .kill_on_drop(true)
        .spawn()
        .context("cannot start cargo")?;
    Ok(exit_code(child.wait().await?))
}
