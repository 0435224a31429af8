//! `cargo local faults`: see [`local_suite::chaos`].

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use clap::{Parser, Subcommand};
use local_stack::{
    commands::{self, Options},
    machine::ports::Ports,
};
use local_suite::chaos;

#[derive(Parser)]
#[command(name = "cargo local", bin_name = "cargo local")]
struct Cli {
    #[command(subcommand)]
    command: Task,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Task {
    /// Lets people post while everything fails at random, and checks what became of every message.
    Faults {
        /// What the steps follow from. By default another one each time.
        #[arg(long)]
        seed: Option<u64>,
        /// How many steps.
        #[arg(long, default_value_t = 300)]
        steps: usize,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { command: Task::Faults { seed, steps }, options } = Cli::parse();
    commands::run(faults(&options, seed, steps)).await
}

async fn faults(options: &Options, seed: Option<u64>, steps: usize) -> Result<ExitCode> {
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let settings = chaos::settings(options.settings(Ports::Free));
    let (_, services, system) = commands::start(settings).await?;
    println!("seed {seed}, {steps} steps");
    let start = Instant::now();
    let figures = chaos::run(&services, &system, seed, steps).await?;
    println!("{figures}");
    println!("All is well after {:.0?}.", start.elapsed());
    system.stop(&services).await?;
    Ok(ExitCode::SUCCESS)
}
