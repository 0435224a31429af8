//! Limits a process to the share of a processor that Lambda gives with a memory size: a core for 1 769 MB, in periods
//! of 20 ms.
//!
//! A control group has the kernel do the same here, which needs root or a delegated `cpu` controller. See
//! <https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html> and
//! <https://docs.kernel.org/scheduler/sched-bwc.html>.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// The memory that comes with a whole core.
const MEGABYTES_A_CORE: u32 = 1_769;

/// The period in which a share is given out.
pub const PERIOD: Duration = Duration::from_millis(20);

/// A shell that joins the control group and becomes the function, so that no moment of it is outside.
const ENTER: &str = r#"echo $$ > "$1/cgroup.procs" && exec "$0""#;

/// A control group. It goes when this is dropped, after the processes in it.
pub struct Quota {
    pub memory_mb: u32,
    directory: PathBuf,
}

impl Quota {
    /// Makes a control group with the share of a memory size.
    pub fn of(memory_mb: u32) -> Result<Self> {
        let (root, version) = controller()?;
        let name = format!("local-bench-{}-{memory_mb}", std::process::id());
        let directory = root.join(name);
        fs::create_dir(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let quota = Self { memory_mb, directory };
        let period = PERIOD.as_micros();
        let share = period * u128::from(memory_mb) / u128::from(MEGABYTES_A_CORE);
        match version {
            1 => {
                quota.write("cpu.cfs_period_us", &period.to_string())?;
                quota.write("cpu.cfs_quota_us", &share.to_string())?;
            }
            _ => quota.write("cpu.max", &format!("{share} {period}"))?,
        }
        Ok(quota)
    }

    /// Prepares to run a program with this share.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", ENTER]).arg(program).arg(&self.directory);
        command
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let file = self.directory.join(file);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // Processes that were just killed still count.
        for _ in 0..50 {
            if fs::remove_dir(&self.directory).is_ok() {
                return;
            }
            thread::sleep(PERIOD);
        }
    }
}

/// Returns where control groups with a share of the processor are made, and in which version.
fn controller() -> Result<(PathBuf, u8)> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cpu/cgroup.procs").exists() {
        return Ok((root.join("cpu"), 1));
    }
    let controllers = fs::read_to_string(root.join("cgroup.controllers"));
    if !controllers.is_ok_and(|all| all.split_whitespace().any(|name| name == "cpu")) {
        bail!("there is no `cpu` controller below {}", root.display());
    }
    let switch = root.join("cgroup.subtree_control");
    fs::write(&switch, "+cpu").with_context(|| format!("cannot write {}", switch.display()))?;
    Ok((root.to_owned(), 2))
}
