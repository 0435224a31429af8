//! Prints a new pair of keys for access tokens.

use std::process::ExitCode;

use anyhow::Result;
use local::keys::Keys;

/// Prints them as the environment variables of the functions.
pub fn print() -> Result<ExitCode> {
    let keys = Keys::generate()?;
    println!("JWT_PRIVATE_KEY='{}'", keys.private);
    println!("JWT_PUBLIC_KEYS='{}'", keys.public);
    Ok(ExitCode::SUCCESS)
}
