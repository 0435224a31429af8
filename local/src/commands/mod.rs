//! The commands of `cargo local`.

pub mod exec;
pub mod keys;
pub mod serve;
pub mod services;
pub mod test;
pub mod workbench;

use std::{
    env,
    os::unix::process::ExitStatusExt,
    process::{ExitCode, ExitStatus},
};

use anyhow::Result;
use clap::Args;
use local::{
    machine::{ports::Ports, workspace::Workspace},
    services::Services,
    settings::{Queue, STAND_IN_STRIPE_KEY, Settings, State},
    system::System,
};

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
            real_stripe: env::var_os("STRIPE_SECRET_KEY").is_some_and(|key| key != STAND_IN_STRIPE_KEY),
            ports,
            ..Settings::default()
        }
    }

    async fn start_with(&self, settings: Settings) -> Result<(Workspace, Services, System)> {
        let workspace = Workspace { release: settings.release, ..Workspace::find()? };
        let services = build_and_start(&workspace, settings.ports, settings.functions).await?;
        let system = System::start(&services, settings).await?;
        Ok((workspace, services, system))
    }
}

/// Translates the end of a program as a shell does: a signal becomes 128 and its number.
pub fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or(128 + status.signal().unwrap_or_default());
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Builds the functions, or only some of them, while the services are installed and started.
pub async fn build_and_start(workspace: &Workspace, ports: Ports, some: Option<&[&str]>) -> Result<Services> {
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
