//! Starts processes that end when we do, however we end.
//!
//! A [`Group`] is led by a shell that waits for the end of its input. We hold the other end: when we return, panic or
//! are killed, the input ends and the shell kills the group. So nothing is left behind, also not by a test whose
//! statics are never dropped.

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

/// Waits for the end of the input, removes the directory it was given, and ends its group and with it itself.
const LEADER: &str = r#"trap "" INT TERM HUP; read -r _; rm -rf "$@"; kill -9 0"#;

/// A process group that does not outlive this process.
pub struct Group {
    leader: std::process::Child,
}

impl Group {
    /// Starts a group; `temporary` is removed at its end.
    pub fn new(temporary: Option<&Path>) -> Result<Self> {
        let leader = std::process::Command::new("sh")
            .args(["-c", LEADER, "sh"])
            .args(temporary)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start `sh`, which ends the other processes; is it on PATH?")?;
        Ok(Self { leader })
    }

    /// Starts a program in the group. It also ends when the returned handle is dropped.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        command
            .process_group(i32::try_from(self.leader.id())?)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                let program = command.as_std().get_program();
                format!("cannot start {}", program.display())
            })
    }

    /// Kills every process of the group now, whoever still holds it.
    pub fn kill(&self) {
        if let Some(group) = Pid::from_raw(self.leader.id().cast_signed()) {
            let _ = kill_process_group(group, Signal::KILL); // fails when it is gone
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The end of its input makes the leader clean up and kill the group.
        drop(self.leader.stdin.take());
        let _ = self.leader.wait();
    }
}

/// Waits until `ready`, and says why when the program ends before that or takes longer than a minute.
pub async fn wait_until_ready(name: &str, child: &mut Child, log: &Path, ready: impl AsyncFn() -> bool) -> Result<()> {
    let limit = Instant::now() + Duration::from_mins(1);
    while !ready().await {
        if let Some(status) = child.try_wait()? {
            bail!("{name} ended at start ({status}):\n{}", last_lines(log));
        }
        if Instant::now() > limit {
            bail!("{name} did not start within a minute:\n{}", last_lines(log));
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Runs a program to its end.
pub async fn run(command: &mut Command) -> Result<String> {
    let program = command.as_std().get_program().display().to_string();
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot start {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{program} failed ({}):\n{text}{errors}", output.status);
    }
    Ok(text)
}

/// Opens a file for a program's output.
pub fn log_file(directory: &Path, name: &str) -> Result<(PathBuf, std::fs::File)> {
    let path = directory.join(name).with_extension("log");
    let file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok((path, file))
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dropped_group_leaves_no_process_and_no_directory() {
        let directory = tempfile::tempdir().unwrap().keep();
        let group = Group::new(Some(&directory)).unwrap();
        let mut child = group.spawn(Command::new("sleep").arg("60")).unwrap();
        drop(group);
        let ended = tokio::time::timeout(Duration::from_secs(2), child.wait()).await;
        assert!(ended.is_ok(), "the process lives on");
        assert!(!directory.exists(), "the directory is left");
    }

    #[tokio::test]
    async fn a_program_that_ends_at_start_is_reported_with_its_last_words() {
        let directory = tempfile::tempdir().unwrap();
        let (log, file) = log_file(directory.path(), "program").unwrap();
        let group = Group::new(None).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such thing; exit 3"]).stdout(file);
        let mut child = group.spawn(&mut command).unwrap();
        let waiting = wait_until_ready("program", &mut child, &log, async || false);
        let error = waiting.await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no such thing"), "{error}");
    }
}
