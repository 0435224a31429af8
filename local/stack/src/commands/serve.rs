//! Starts everything, has a conversation, and serves until Ctrl-C.

use std::process::ExitCode;

use anyhow::Result;

use super::{Options, demo, start};
use crate::{
    machine::{ports::Ports, workspace::write_secret},
    reference::Reference,
    sam,
    settings::environment_file,
};

/// The port of the API reference.
const REFERENCE: u16 = 9006;

/// Serves the API on port 9000.
pub async fn serve(options: &Options) -> Result<ExitCode> {
    let (workspace, services, system) = start(options.settings(Ports::Fixed)).await?;
    demo::print(&system).await?;
    let file = workspace.target.join("local/env");
    let variables = system.variables();
    services.keep_secrets(&variables).await?;
    write_secret(&file, &environment_file(&variables))?;
    sam::write_parameters(&workspace.target, &sam::parameters(&variables))?;
    sam::write_variables(&workspace.target, &variables)?;
    for name in ["API_URL", "GEMINI_URL", "STRIPE_URL", "DATABASE_URL", "AWS_ENDPOINT_URL", "REDIS_URL"] {
        if let Some(value) = variables.get(name) {
            eprintln!("{name:17} {value}");
        }
    }
    let reference = Reference::serve(Ports::Fixed.port(REFERENCE), &system.url("")).await?;
    eprintln!("{:17} {}", "API reference", reference.url);
    eprintln!("Every variable of the functions is in {}.", file.display());
    eprintln!("Serving until Ctrl-C; a function that is saved is built again.");
    system.show_logs();
    workspace.build_on_save().await?;
    Ok(ExitCode::SUCCESS)
}
