//! Runs MiniStack: AWS on this machine.

use std::path::Path;

use anyhow::Result;
use tokio::process::{Child, Command};

use crate::machine::{
    ports::Port,
    process::{Group, log_file, wait_until_ready},
    tools::Tools,
};

/// How strictly it checks callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// Every caller may do everything.
    Trusting,
    /// Signatures are checked, roles may do what their policies say, and every call is recorded.
    Enforcing,
}

/// A running MiniStack.
pub struct MiniStack {
    /// Its address.
    pub endpoint: String,
    _server: Child,
    _group: Group,
}

impl MiniStack {
    /// Starts it in a group, with nothing in it. It keeps its files, those of deployed functions among them, in
    /// `directory`.
    pub async fn start(
        tools: &Tools,
        group: Group,
        port: Port,
        directory: &Path,
        strictness: Strictness,
    ) -> Result<Self> {
        let port = port.number()?;
        let (path, log) = log_file(directory, "ministack")?;
        let endpoint = format!("http://127.0.0.1:{port}");
        let enforcing = strictness == Strictness::Enforcing;
        let mut server = group.spawn(
            Command::new(tools.program("python"))
                .args(["-m", "ministack"])
                .env("BIND_HOST", "127.0.0.1") // it would bind every address
                .env("GATEWAY_PORT", port.to_string())
                .env("AWS_ENDPOINT_URL", &endpoint) // for deployed functions
                .env("AUTH", enforcing.to_string())
                .env("CLOUDTRAIL_RECORDING", if enforcing { "1" } else { "0" })
                .env("LOG_LEVEL", "WARNING")
                .env("TMPDIR", directory)
                .stdout(log.try_clone()?)
                .stderr(log),
        )?;
        let client = crate::machine::http::client()?;
        let health = format!("{endpoint}/_ministack/health");
        wait_until_ready("MiniStack", &mut server, &path, async || {
            let answer = client.get(&health).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await?;
        Ok(Self { endpoint, _server: server, _group: group })
    }
}
