//! The commands that need more than the base program has: it is built again, with the feature `workbench`.

use anyhow::Result;
use clap::Subcommand;
use std::{path::PathBuf, process::ExitCode};

use super::Options;

/// What such a command is asked.
#[derive(Subcommand)]
pub enum Task {
    /// Lets people post while everything fails at random, and checks what became of it.
    Faults {
        /// What the steps follow from. By default another one each time.
        #[arg(long)]
        seed: Option<u64>,
        /// How many steps.
        #[arg(long, default_value_t = 300)]
        steps: usize,
    },
    /// Lets many people use the system at once, prints what they saw, and fails when a message has no reply.
    Load {
        /// How many people.
        #[arg(long, default_value_t = 200)]
        users: usize,
        /// For how long after all have come.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Reads every reply while it is written; without it, people poll.
        #[arg(long)]
        stream: bool,
    },
    /// Measures release builds of functions, prints the figures, and fails when one is beyond its budget.
    Bench {
        /// Only this function. May be given more than once.
        #[arg(long = "function", value_name = "NAME")]
        functions: Vec<String>,
        /// Every function.
        #[arg(long)]
        all: bool,
        /// Only what a message takes, and writes the table of what that costs into `docs/operations.md`.
        #[arg(long)]
        cost: bool,
        /// Also measures with a million rooms and ten million messages, which takes some minutes and 8 GB.
        #[arg(long)]
        millions: bool,
        /// Where to write the figures.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
}

/// Replaces this program by the one with the feature, on the same command line.
#[cfg(not(feature = "workbench"))]
#[expect(clippy::unused_async, reason = "the other one waits")]
pub async fn run(_: &Options, _: Task) -> Result<ExitCode> {
    use std::{env, os::unix::process::CommandExt};

    use local::machine::workspace::{WORKBENCH, Workspace};

    let mut cargo = Workspace::find()?.cargo("run").into_std();
    let cargo = cargo.args(["--package", "local", "--features", WORKBENCH, "--"]);
    Err(cargo.args(env::args_os().skip(1)).exec().into())
}

/// Runs the command.
#[cfg(feature = "workbench")]
pub async fn run(options: &Options, task: Task) -> Result<ExitCode> {
    match task {
        Task::Faults { seed, steps } => faults(options, seed, steps).await,
        Task::Load { users, seconds, stream } => {
            let load = local::load::Options { users, seconds, stream };
            self::load(options, &load).await
        }
        Task::Bench { functions, all, cost, millions, json } => {
            let options = local::bench::Options { functions, all, cost, millions, json };
            bench(&options).await
        }
    }
}

#[cfg(feature = "workbench")]
async fn faults(options: &Options, seed: Option<u64>, steps: usize) -> Result<ExitCode> {
    use std::time::Instant;

    use local::{chaos, machine::ports::Ports};

    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let settings = chaos::settings(options.settings(Ports::Free));
    let (_, services, system) = options.start_with(settings).await?;
    println!("seed {seed}, {steps} steps");
    let start = Instant::now();
    let figures = chaos::run(&services, &system, seed, steps).await?;
    println!("{figures}");
    println!("All is well after {:.0?}.", start.elapsed());
    system.stop(&services).await?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(feature = "workbench")]
async fn load(options: &Options, load: &local::load::Options) -> Result<ExitCode> {
    use local::machine::ports::Ports;

    let settings = local::load::settings(options.settings(Ports::Free));
    let (_, services, system) = options.start_with(settings).await?;
    let report = local::load::run(&system, load).await?;
    println!("{report}");
    system.stop(&services).await?;
    Ok(succeeded(report.holds()))
}

#[cfg(feature = "workbench")]
fn succeeded(holds: bool) -> ExitCode {
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(feature = "workbench")]
async fn bench(options: &local::bench::Options) -> Result<ExitCode> {
    Ok(succeeded(local::bench::run(options).await?))
}
