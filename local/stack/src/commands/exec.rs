//! Runs a command against a private system.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use super::{Options, exit_code, start};
use crate::machine::{ports::Ports, workspace::forget_cargo_run};

/// Gives the command the system's addresses and settings, and exits with its code.
pub async fn exec(options: &Options, command: &[String]) -> Result<ExitCode> {
    let (_, services, system) = start(options.settings(Ports::Free)).await?;
    let [program, arguments @ ..] = command else {
        bail!("no command is given");
    };
    services.keep_secrets(&system.variables()).await?;
    let mut child = Command::new(program);
    forget_cargo_run(&mut child);
    let mut child = child
        .args(arguments)
        .envs(system.variables())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let status = child.wait().await?;
    system.stop(&services).await?;
    Ok(exit_code(status))
}
