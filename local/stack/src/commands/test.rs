//! Runs the tests against private services.

use std::{env, process::ExitCode, thread::available_parallelism};

use anyhow::{Context, Result};

use super::{Options, build_and_start, exit_code};
use crate::{
    machine::{ports::Ports, workspace::Workspace},
    services::Services,
};

/// How many tests run at once.
const THREADS: &str = "RUST_TEST_THREADS";

/// The package whose tests run the functions' binaries.
const SUITE: &str = "local-suite";

/// Selects with any packages the features of the whole workspace.
const FEATURES: &str = "local-features";

/// Starts services, and runs `cargo test` with them: of the packages that the arguments name, or of all. Builds the
/// functions if their binaries are tested. Most tests wait for something, so more of them run at once than there are
/// cores, unless [`THREADS`] says how many.
pub async fn test(options: &Options, arguments: &[String]) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let packages = packages(arguments);
    let services = if packages.is_empty() || packages.contains(&SUITE) {
        build_and_start(&workspace, Ports::Free, None).await?
    } else {
        Services::start(&workspace, Ports::Free).await?
    };
    let selection = if packages.is_empty() { vec!["--workspace"] } else { vec!["--package", FEATURES] };
    let threads = env::var(THREADS).unwrap_or((2 * available_parallelism()?.get()).to_string());
    let mut child = workspace
        .cargo("test")
        .args(selection)
        .args(arguments)
        .env(THREADS, threads)
        .envs(services.test_variables(&options.settings(Ports::Free)).await?)
        .kill_on_drop(true)
        .spawn()
        .context("cannot start cargo")?;
    Ok(exit_code(child.wait().await?))
}

/// Finds the packages that arguments of `cargo test` name. What stands after `--` is for the tests.
fn packages(arguments: &[String]) -> Vec<&str> {
    let mut packages = Vec::new();
    let mut arguments = arguments.iter().map(String::as_str).take_while(|argument| *argument != "--");
    while let Some(argument) = arguments.next() {
        if ["-p", "--package"].contains(&argument) {
            packages.extend(arguments.next());
        } else if let Some(package) = argument.strip_prefix("--package=").or(argument.strip_prefix("-p")) {
            packages.push(package.trim_start_matches('='));
        }
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_found_however_they_are_named() {
        let arguments = ["-p", "a", "--package=b", "-pc", "queue", "--package", "d", "--", "-p", "e"];
        assert_eq!(packages(&arguments.map(str::to_owned)), ["a", "b", "c", "d"]);
        assert!(packages(&["queue".to_owned()]).is_empty());
    }
}
