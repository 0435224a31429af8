//! Runs Redis: `redis-server` or `valkey-server` when one is installed, else the one of a Python wheel.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::Result;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    sync::Mutex,
};

use crate::machine::{
    ports::Port,
    process::{Group, log_file, wait_until_ready},
    tools::Tools,
};

/// How many databases a server of ours has, so that each system gets one of its own.
pub const DATABASES: u32 = 4096;

/// A running server that keeps nothing on disk.
pub struct Redis {
    /// Its URL.
    pub url: String,
    program: PathBuf,
    port: u16,
    logs: PathBuf,
    server: Mutex<Child>,
    group: Group,
}

impl Redis {
    /// Starts it.
    pub async fn start(tools: &Tools, port: Port, logs: &Path) -> Result<Self> {
        let port = port.number()?;
        let path = env::var_os("PATH").unwrap_or_default();
        let installed = env::split_paths(&path)
            .flat_map(|directory| ["redis-server", "valkey-server"].map(|name| directory.join(name)))
            .find(|program| program.is_file());
        let program = installed.unwrap_or_else(|| tools.program("redis-server"));
        let group = Group::new(None)?;
        let server = serve(&program, port, logs, &group).await?;
        Ok(Self {
            url: format!("redis://127.0.0.1:{port}"),
            program,
            port,
            logs: logs.to_owned(),
            server: Mutex::new(server),
            group,
        })
    }

    /// Stops it as a power cut does; what it held is lost.
    pub async fn stop(&self) -> Result<()> {
        Ok(self.server.lock().await.kill().await?)
    }

    /// Starts it again, empty, where it was.
    pub async fn resume(&self) -> Result<()> {
        *self.server.lock().await = serve(&self.program, self.port, &self.logs, &self.group).await?;
        Ok(())
    }
}

async fn serve(program: &Path, port: u16, logs: &Path, group: &Group) -> Result<Child> {
    let (log, file) = log_file(logs, "redis")?;
    let mut server = group.spawn(
        Command::new(program)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--databases", &DATABASES.to_string()])
            .args(["--save", "", "--appendonly", "no"])
            .current_dir(logs)
            .stdout(file.try_clone()?)
            .stderr(file),
    )?;
    wait_until_ready("Redis", &mut server, &log, async || TcpStream::connect(("127.0.0.1", port)).await.is_ok())
        .await?;
    Ok(server)
}
