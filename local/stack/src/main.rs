//! `cargo local`: see [`local_stack`] and `local/README.md`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use local_stack::commands::{self, Options};

/// The whole system on this machine. Without a command: starts it, has a conversation with it, and serves.
#[derive(Parser)]
#[command(name = "cargo local", bin_name = "cargo local")]
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
    /// Runs `cargo test` against private services: of the whole workspace, unless `-p` names packages.
    Test {
        /// More arguments for `cargo test`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Starts the services of the tests alone, and prints their variables for a shell.
    Services,
    /// Prints a new pair of keys for access tokens.
    Keys,
    /// Lets people post while everything fails at random, and checks what became of every message.
    Faults(Elsewhere),
    /// Lets many people use release builds at once, and fails when a message has no reply.
    Load(Elsewhere),
    /// Measures release builds of functions, and fails when a figure is beyond its budget.
    Bench(Elsewhere),
}

/// The rest of a command line that another package reads; `--help` included.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
struct Elsewhere {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    _arguments: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { command, options } = Cli::parse();
    commands::run(async {
        match command {
            None => commands::serve(&options).await,
            Some(Task::Exec { command }) => commands::exec(&options, &command).await,
            Some(Task::Test { arguments }) => commands::test(&options, &arguments).await,
            Some(Task::Services) => commands::services(&options).await,
            Some(Task::Keys) => commands::keys(),
            Some(Task::Faults(_)) => commands::elsewhere("local-suite"),
            Some(Task::Load(_) | Task::Bench(_)) => commands::elsewhere("local-bench"),
        }
    })
    .await
}
