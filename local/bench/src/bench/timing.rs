//! Times the warm requests of one process.

use anyhow::Result;
use local_suite::single::Process;
use serde_json::Value;

use super::{
    figures::{Warm, ms, quantile},
    usage::{peak_memory, processor_time},
};

/// Requests after which everything is warm.
pub const WARMING_UP: usize = 10;

/// A process and the times of its requests.
pub struct Timing {
    process: Process,
    times: Vec<f64>,
    processor: Vec<f64>,
    requests: usize,
}

impl Timing {
    /// Begins with a process that is ready.
    pub fn of(process: Process) -> Self {
        Self { process, times: Vec::new(), processor: Vec::new(), requests: 0 }
    }

    /// Serves a request and times it, unless it is one of the first.
    pub async fn invoke(&mut self, event: &Value) -> Result<()> {
        self.requests += 1;
        let pid = self.process.pid()?;
        let before = processor_time(pid)?;
        let responded = self.process.invoke(event).await?;
        if self.requests > WARMING_UP {
            self.times.push(ms(responded.time));
            self.processor.push(ms(processor_time(pid)?.saturating_sub(before)));
        }
        Ok(())
    }

    /// Returns the mean that a request is billed for, in milliseconds: AWS rounds each up to a whole one.
    pub fn billed(&self) -> f64 {
        let billed: f64 = self.times.iter().map(|ms| ms.ceil()).sum();
        #[expect(clippy::cast_precision_loss, reason = "these are small numbers")]
        let requests = self.times.len() as f64;
        billed / requests
    }

    /// Returns the figures.
    pub fn figures(mut self) -> Result<Warm> {
        let peak = peak_memory(self.process.pid()?)?;
        self.times.sort_by(f64::total_cmp);
        self.processor.sort_by(f64::total_cmp);
        #[expect(clippy::cast_precision_loss, reason = "these are small numbers")]
        Ok(Warm {
            p50_ms: quantile(&self.times, 50),
            p99_ms: quantile(&self.times, 99),
            cpu_ms: quantile(&self.processor, 50),
            peak_mb: peak as f64 / 1e6,
        })
    }
}
