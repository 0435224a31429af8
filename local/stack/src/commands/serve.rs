//! Starts everything, has a conversation, and serves until Ctrl-C.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::ExitCode,
};

use super::{Options, demo, start};
use crate::{machine::ports::Ports, reference::Reference, settings::environment_file};
use anyhow::{Context, Result};

/// The port of the API reference.
const REFERENCE: u16 = 9006;

/// Serves the API on port 9000.
pub async fn serve(options: &Options) -> Result<ExitCode> {
    let (workspace, services, system) = start(options.settings(Ports::Fixed)).await?;
    demo::print(&system).await?;
    let file = workspace.target.join("local/env");
    let variables = system.variables();
    services.keep_secrets(&variables).await?;
    // For `sam deploy --config-env local`.
    let parameters = serde_json::json!({ "JwtPublicKeys": variables["JWT_PUBLIC_KEYS"] });
    fs::write(file.with_file_name("parameters.json"), parameters.to_string())?;
    write_secret(&file, &environment_file(&variables)).with_context(|| format!("cannot write {}", file.display()))?;
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

/// Writes a file that only its owner can read.
fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let _ = fs::remove_file(path); // one that is there might be open to others
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
