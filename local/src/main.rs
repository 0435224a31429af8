//! `cargo local`: see [`local`] and the README.

use std::{
    env,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::{fs::OpenOptionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{ExitCode, ExitStatus},
    time::Instant,
};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use local::{
    bench, chaos, demo,
    keys::Keys,
    machine::{
        ports::Ports,
        workspace::{Workspace, forget_cargo_run},
    },
    services::Services,
    settings::{Queue, STAND_IN_STRIPE_KEY, Settings, State, environment_file},
    system::System,
};
use tokio::{
    process::Command,
    select,
    signal::unix::{SignalKind, signal},
};

/// The whole system on this machine. Without a command: starts it, has a conversation with it, and serves.
#[derive(Parser)]
#[command(name = "cargo local")]
struct Cli {
    #[command(subcommand)]
    command: Option<Task>,
    #[command(flatten)]
    options: Options,
}

#[derive(Args)]
struct Options {
    /// What carries wake-ups.
    #[arg(long, value_enum, default_value_t, global = true)]
    queue: Queue,
    /// What carries codes, limits and caches.
    #[arg(long, value_enum, default_value_t, global = true)]
    state: State,
    /// Runs the functions' release builds.
    #[arg(long, global = true)]
    release: bool,
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
    /// Measures how long replies take, less Gemini's time.
    Latency,
    /// Lets people post while everything fails at random, and checks what became of it.
    Faults {
        /// What the steps follow from. By default another one each time.
        #[arg(long)]
        seed: Option<u64>,
        /// How many steps.
        #[arg(long, default_value_t = 300)]
        steps: usize,
    },
    /// Measures release builds of functions, prints the figures, and fails when one is beyond its budget.
    Bench {
        /// Only this function. May be given more than once.
        #[arg(long = "function", value_name = "NAME")]
        functions: Vec<String>,
        /// Every function.
        #[arg(long)]
        all: bool,
        /// Where to write the figures, with a picture beside it.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Prints a new pair of keys for access tokens.
    Keys,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { command, options } = Cli::parse();
    let interrupted = interrupted();
    let task = async {
        match command {
            None => serve(&options).await.map(|()| ExitCode::SUCCESS),
            Some(Task::Exec { command }) => exec(&options, &command).await,
            Some(Task::Test { arguments }) => test(&options, &arguments).await,
            Some(Task::Latency) => latency(&options).await,
            Some(Task::Faults { seed, steps }) => random_faults(&options, seed, steps).await,
            Some(Task::Bench {
                functions,
                all,
                json,
            }) => bench(functions, all, json).await,
            Some(Task::Keys) => print_keys(),
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

/// That of a program, or as a shell says it when a signal ended it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .unwrap_or(128 + status.signal().unwrap_or_default());
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}

impl Options {
    /// Builds the functions and starts a system.
    async fn start(&self, ports: Ports) -> Result<(Workspace, Services, System)> {
        self.start_with(self.settings(ports)).await
    }

    fn settings(&self, ports: Ports) -> Settings {
        Settings {
            queue: self.queue,
            state: self.state,
            release: self.release,
            real_gemini: env::var_os("GEMINI_API_KEY").is_some_and(|key| key != "local"),
            real_stripe: env::var_os("STRIPE_SECRET_KEY")
                .is_some_and(|key| key != STAND_IN_STRIPE_KEY),
            ports,
            ..Settings::default()
        }
    }

    async fn start_with(&self, settings: Settings) -> Result<(Workspace, Services, System)> {
        let workspace = Workspace {
            release: self.release,
            ..Workspace::find()?
        };
        workspace.build().await?;
        let services = Services::start(&workspace, settings.ports).await?;
        let system = System::start(&services, settings).await?;
        Ok((workspace, services, system))
    }
}

async fn serve(options: &Options) -> Result<()> {
    let (workspace, services, system) = options.start(Ports::Fixed).await?;
    demo::print(&system).await?;
    let file = workspace.target.join("local/env");
    let variables = system.variables();
    services.keep_secrets(&variables).await?;
    // For `sam deploy --config-env local`.
    let parameters = serde_json::json!({ "JwtPublicKeys": variables["JWT_PUBLIC_KEYS"] });
    fs::write(
        file.with_file_name("parameters.json"),
        parameters.to_string(),
    )?;
    write_secret(&file, &environment_file(&variables))
        .with_context(|| format!("cannot write {}", file.display()))?;
    for name in [
        "API_URL",
        "GEMINI_URL",
        "STRIPE_URL",
        "DATABASE_URL",
        "AWS_ENDPOINT_URL",
        "REDIS_URL",
    ] {
        if let Some(value) = variables.get(name) {
            eprintln!("{name:17} {value}");
        }
    }
    eprintln!("Every variable of the functions is in {}.", file.display());
    eprintln!("Serving until Ctrl-C; a function that is saved is built again.");
    system.show_logs();
    workspace.build_on_save().await
}

/// Writes a file that only its owner can read.
fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let _ = fs::remove_file(path); // one that is there might be open to others
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

async fn exec(options: &Options, command: &[String]) -> Result<ExitCode> {
    let (_, services, system) = options.start(Ports::Free).await?;
    let [program, arguments @ ..] = command else {
        unreachable!("clap requires a command");
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

async fn test(options: &Options, arguments: &[String]) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    workspace.build().await?;
    let services = Services::start(&workspace, Ports::Free).await?;
    let mut child = workspace
        .cargo("test")
        .arg("--workspace")
        .args(arguments)
        .envs(
            services
                .test_variables(&options.settings(Ports::Free))
                .await?,
        )
        .kill_on_drop(true)
        .spawn()
        .context("cannot start cargo")?;
    Ok(exit_code(child.wait().await?))
}

async fn latency(options: &Options) -> Result<ExitCode> {
    let settings = options.settings(Ports::Free);
    let settings = settings.with("BASIC_DAILY_MESSAGES", 1_000);
    let (_, services, system) = options.start_with(settings).await?;
    demo::print_latency(&system).await?;
    system.stop(&services).await?;
    Ok(ExitCode::SUCCESS)
}

async fn random_faults(options: &Options, seed: Option<u64>, steps: usize) -> Result<ExitCode> {
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

async fn bench(functions: Vec<String>, all: bool, json: Option<PathBuf>) -> Result<ExitCode> {
    let options = bench::Options {
        functions,
        all,
        json,
    };
    let holds = bench::run(&options).await?;
    Ok(if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print_keys() -> Result<ExitCode> {
    let keys = Keys::generate()?;
    println!("JWT_PRIVATE_KEY='{}'", keys.private);
    println!("JWT_PUBLIC_KEYS='{}'", keys.public);
    Ok(ExitCode::SUCCESS)
}
