//! `cargo local`: see [`local`] and `local/README.md`.

mod commands;

use std::{
    os::unix::process::ExitStatusExt,
    process::{ExitCode, ExitStatus},
};

use anyhow::Result;
use clap::{Parser, Subcommand};
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
};

use commands::{Options, exec, exit_code, keys, serve, services, test, workbench};

/// The whole system on this machine. Without a command: starts it, has a conversation with it, and serves.
#[derive(Parser)]
#[command(name = "cargo local")]
struct Cli {
    #[command(subcommand)]
    command: Option<Task>,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Task {
    /// Runs a command against a private system with empty data, and exits with its code.
    Exec {
        /// The command, which gets the system's addresses and settings as environment variables.
        #[arg(required = true, trailing_var_arg = true)]
        command: Vec<String>,
    },
    /// Runs `cargo test --workspace` against private services.
    Test {
        /// More arguments for `cargo test`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Starts the services of the tests alone, and prints their variables for a shell.
    Services,
    /// Prints a new pair of keys for access tokens.
    Keys,
    #[command(flatten)]
    Workbench(workbench::Task),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { command, options } = Cli::parse();
    let interrupted = interrupted();
    let task = async {
        match command {
            None => serve::serve(&options).await.map(|()| ExitCode::SUCCESS),
            Some(Task::Exec { command }) => exec::exec(&options, &command).await,
            Some(Task::Test { arguments }) => test::test(&options, &arguments).await,
            Some(Task::Services) => services::services(&options).await.map(|()| ExitCode::SUCCESS),
            Some(Task::Keys) => keys::print(),
            Some(Task::Workbench(task)) => workbench::run(&options, task).await,
        }
    };
    // Whatever is dropped on the way out ends what it started.
    let outcome = select! {
        outcome = task => outcome,
        code = interrupted => code,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Waits for Ctrl-C or a request to end.
async fn interrupted() -> Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let signal = select! {
        _ = terminate.recv() => SignalKind::terminate(),
        _ = interrupt.recv() => SignalKind::interrupt(),
    };
    Ok(exit_code(ExitStatus::from_raw(signal.as_raw_value())))
}
