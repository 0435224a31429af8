//! Reads a process's peak memory and processor time from `/proc`.

use std::{fs, time::Duration};

use anyhow::{Context, Result};

/// Returns the most memory that a process ever held, in bytes (`VmHWM`: proc(5)).
pub fn peak_memory(pid: u32) -> Result<u64> {
    bytes(pid, "VmHWM:")
}

/// Returns the memory that a process holds, in bytes.
pub fn memory(pid: u32) -> Result<u64> {
    bytes(pid, "VmRSS:")
}

fn bytes(pid: u32, figure: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(figure));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kilobytes.context("the system does not tell a process's memory")? * 1024)
}

/// Returns the processor time of a process so far, over its threads. `schedstat` counts nanoseconds, where `stat`'s
/// ticks of ten milliseconds would hide most requests.
pub fn processor_time(pid: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let statistics = fs::read_to_string(thread.path().join("schedstat"))?;
        let used = statistics.split(' ').next();
        nanoseconds +=
            used.and_then(|used| used.parse::<u64>().ok()).context("the system does not tell processor time")?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}
