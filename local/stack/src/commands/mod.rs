//! The commands of `cargo local`, and what those of the packages above share with them.

mod demo;
mod exec;
mod serve;
mod services;
mod test;

use std::{
    env,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{ExitCode, ExitStatus},
};

use anyhow::Result;
use clap::Args;
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
};

use crate::{
    keys::Keys,
    machine::{ports::Ports, workspace::Workspace},
    services::Services,
    settings::{Queue, STAND_IN_STRIPE_KEY, Settings, State},
    system::System,
};

pub use self::{exec::exec, serve::serve, services::services, test::test};

/// What every command may be told.
#[derive(Args)]
pub struct Options {
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

impl Options {
    /// Makes the settings of a system.
    pub fn settings(&self, ports: Ports) -> Settings {
        Settings {
            queue: self.queue,
            state: self.state,
            release: self.release,
            real_gemini: env::var_os("GEMINI_API_KEY").is_some_and(|key| key != "local"),
            real_stripe: env::var_os("STRIPE_SECRET_KEY").is_some_and(|key| key != STAND_IN_STRIPE_KEY),
            ports,
            ..Settings::default()
        }
    }
}

/// Builds the functions and starts a system.
pub async fn start(settings: Settings) -> Result<(Workspace, Services, System)> {
    let workspace = Workspace { release: settings.release, ..Workspace::find()? };
    let services = build_and_start(&workspace, settings.ports, settings.functions).await?;
    let system = System::start(&services, settings).await?;
    Ok((workspace, services, system))
}

/// Builds the functions, or only some of them, while the services are installed and started.
async fn build_and_start(workspace: &Workspace, ports: Ports, some: Option<&[&str]>) -> Result<Services> {
    let services = Box::pin(Services::start(workspace, ports));
    let build = async {
        match some {
            Some(functions) => workspace.build_packages(functions).await,
            None => workspace.build().await,
        }
    };
    let (services, ()) = tokio::try_join!(services, build)?;
    Ok(services)
}

/// Runs a command to its end, or until Ctrl-C or a request to end. Whatever is dropped on the way out ends what it
/// started.
pub async fn run(command: impl Future<Output = Result<ExitCode>>) -> ExitCode {
    let outcome = select! {
        outcome = command => outcome,
        code = interrupted() => code,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

async fn interrupted() -> Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let signal = select! {
        _ = terminate.recv() => SignalKind::terminate(),
        _ = interrupt.recv() => SignalKind::interrupt(),
    };
    Ok(exit_code(ExitStatus::from_raw(signal.as_raw_value())))
}

/// Replaces this program by another package's, on the same command line: what most people never need is compiled
/// when it is asked for.
pub fn elsewhere(package: &str) -> Result<ExitCode> {
    let mut cargo = Workspace::find()?.cargo("run").into_std();
    let cargo = cargo.args(["--quiet", "--package", package, "--"]);
    Err(cargo.args(env::args_os().skip(1)).exec().into())
}

/// Translates the end of a program as a shell does: a signal becomes 128 and its number.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or(128 + status.signal().unwrap_or_default());
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Prints a new pair of keys for access tokens, as the environment variables of the functions.
pub fn keys() -> Result<ExitCode> {
    let keys = Keys::generate()?;
    println!("JWT_PRIVATE_KEY='{}'", keys.private);
    println!("JWT_PUBLIC_KEYS='{}'", keys.public);
    Ok(ExitCode::SUCCESS)
}
