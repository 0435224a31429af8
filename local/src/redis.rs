//! Redis: `redis-server` or `valkey-server` when one is installed, else the one of a Python wheel.

use std::{env, path::Path};

use anyhow::Result;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use crate::{
    process::{Group, Port, log_file, wait_until_ready},
    tools::Tools,
};

/// How many databases a server of ours has, so that each system gets one of its own.
pub const DATABASES: u32 = 4096;

/// A running server that keeps nothing on disk.
pub struct Redis {
    /// Where it is.
    pub url: String,
    _server: Child,
    _group: Group,
}

impl Redis {
    /// Starts it.
    ///
    /// # Errors
    /// When its port is in use, or when it does not start.
    pub async fn start(tools: &Tools, port: Port, logs: &Path) -> Result<Self> {
        let port = port.number()?;
        let path = env::var_os("PATH").unwrap_or_default();
        let installed = env::split_paths(&path)
            .flat_map(|directory| {
                ["redis-server", "valkey-server"].map(|name| directory.join(name))
            })
            .find(|program| program.is_file());
        let (log, file) = log_file(logs, "redis")?;
        let group = Group::new(None)?;
        let mut server = group.spawn(
            Command::new(installed.unwrap_or_else(|| tools.program("redis-server")))
                .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
                .args(["--save", "", "--appendonly", "no"])
                .args(["--databases", &DATABASES.to_string()])
                .current_dir(logs)
                .stdout(file.try_clone()?)
                .stderr(file),
        )?;
        wait_until_ready("Redis", &mut server, &log, async || {
            TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await?;
        Ok(Self {
            url: format!("redis://127.0.0.1:{port}"),
            _server: server,
            _group: group,
        })
    }
}
