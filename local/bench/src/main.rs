//! `cargo local bench` and `cargo local load`.

mod bench;
mod load;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use local_stack::{
    commands::{self, Options},
    machine::ports::Ports,
};

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
    /// Measures release builds of functions, prints the figures, and fails when one is beyond its budget.
    Bench(bench::Options),
    /// Lets many people use the system at once, prints what they saw, and fails when a message has no reply.
    Load(load::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { command, options } = Cli::parse();
    commands::run(async {
        let holds = match command {
            Task::Bench(bench) => bench::run(&bench).await?,
            Task::Load(people) => load(&options, &people).await?,
        };
        Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
    .await
}

async fn load(options: &Options, people: &load::Options) -> Result<bool> {
    let settings = load::settings(options.settings(Ports::Free));
    let (_, services, system) = commands::start(settings).await?;
    let report = load::run(&system, people).await?;
    println!("{report}");
    system.stop(&services).await?;
    Ok(report.holds())
}
