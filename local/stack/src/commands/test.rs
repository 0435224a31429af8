//! Runs the tests against private services.

use std::{env, process::ExitCode, thread::available_parallelism};

use anyhow::{Context, Result};

use super::{Options, build_and_start, exit_code};
use crate::machine::{ports::Ports, workspace::Workspace};

/// How many tests run at once.
const THREADS: &str = "RUST_TEST_THREADS";

/// Builds the functions, starts services, and runs `cargo test` with them. Most tests wait for something, so more of
/// them run at once than there are cores, unless [`THREADS`] says how many.
pub async fn test(options: &Options, arguments: &[String]) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let services = build_and_start(&workspace, Ports::Free, None).await?;
    let threads = env::var(THREADS).unwrap_or((2 * available_parallelism()?.get()).to_string());
    let mut child = workspace
        .cargo("test")
        .arg("--workspace")
        .args(arguments)
        .env(THREADS, threads)
        .envs(services.test_variables(&options.settings(Ports::Free)).await?)
        .kill_on_drop(true)
        .spawn()
        .context("cannot start cargo")?;
    Ok(exit_code(child.wait().await?))
}
