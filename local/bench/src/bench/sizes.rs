//! Finds the memory size that a function should have: measures it under the share of a processor that comes with each,
//! and adds up what AWS bills for that.

use anyhow::Result;
use local_suite::single::Driver;
use tokio::time::sleep;

use super::{
    figures::AtSize,
    measure::ready_within,
    quota::{PERIOD, Quota},
    timing::{Timing, WARMING_UP},
};

/// The sizes that are compared, in MB.
const SIZES_MB: [u32; 4] = [128, 256, 512, 1_769];

/// The number of warm requests that are timed with each size.
const REQUESTS: usize = 200;

/// A size is fast enough when its p99 is within this of the fastest one's.
const FAST_ENOUGH: f64 = 1.5;

/// US$ for a GB-second of arm64 and for a million requests: <https://aws.amazon.com/lambda/pricing/>, us-east-1.
pub const GB_SECOND: f64 = 0.000_013_333_4;
pub const MILLION_REQUESTS: f64 = 0.20;

impl AtSize {
    /// GB-seconds that a million warm requests are billed for, each of which waits for something else for `wait_ms`.
    pub fn gb_seconds(&self, wait_ms: f64) -> f64 {
        1e6 * (self.billed_ms + wait_ms) / 1000.0 * f64::from(self.memory_mb) / 1024.0
    }

    /// US$ for a million warm requests.
    pub fn dollars(&self) -> f64 {
        self.gb_seconds(0.0) * GB_SECOND + MILLION_REQUESTS
    }
}

/// Returns the cheapest size that is fast enough.
pub fn best(sizes: &[AtSize]) -> Option<&AtSize> {
    let fastest = sizes.iter().map(|size| size.warm.p99_ms);
    let fastest = fastest.fold(f64::INFINITY, f64::min);
    let fast = sizes.iter().filter(|size| size.warm.p99_ms <= FAST_ENOUGH * fastest);
    fast.min_by(|a, b| a.dollars().total_cmp(&b.dollars()))
}

/// Returns the control groups of the sizes. Where there can be none, says why and goes on without.
pub fn quotas() -> Vec<Quota> {
    let quotas: Result<Vec<_>> = SIZES_MB.into_iter().map(Quota::of).collect();
    quotas.unwrap_or_else(|error| {
        eprintln!("Memory sizes are not compared: {error:#}.");
        Vec::new()
    })
}

/// Measures a function with each size. They take turns, so that a slow moment meets all of them, and each request has a
/// period to itself, as when Lambda thaws an environment for it.
pub async fn measure(driver: &Driver, quotas: &[Quota], function: &str) -> Result<Vec<AtSize>> {
    let events = driver.events(function, (WARMING_UP + REQUESTS) * quotas.len()).await?;
    let Some(events) = events else {
        return Ok(Vec::new());
    };
    let mut events = events.iter();
    let mut timings = Vec::new();
    for quota in quotas {
        timings.push(Timing::of(ready_within(driver, quota, function).await?.0));
    }
    for _ in 0..WARMING_UP + REQUESTS {
        for (timing, event) in timings.iter_mut().zip(&mut events) {
            timing.invoke(event).await?;
        }
        sleep(PERIOD).await;
    }
    driver.cases.stock.clear_queued().await?;
    let size = |(quota, timing): (&Quota, Timing)| {
        Ok(AtSize { memory_mb: quota.memory_mb, billed_ms: timing.billed(), warm: timing.figures()? })
    };
    quotas.iter().zip(timings).map(size).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::figures::Warm, *};

    fn size(memory_mb: u32, p99_ms: f64, billed_ms: f64) -> AtSize {
        let warm = Warm { p50_ms: 0.0, p99_ms, cpu_ms: 0.0, peak_mb: 0.0 };
        AtSize { memory_mb, warm, billed_ms }
    }

    #[test]
    fn the_cheapest_size_that_is_fast_enough_is_chosen() {
        let sizes = [size(128, 16.0, 9.0), size(256, 12.0, 5.0), size(512, 10.0, 4.0)];
        assert_eq!(best(&sizes).unwrap().memory_mb, 256);
        assert_eq!(best(&sizes[2..]).unwrap().memory_mb, 512);
    }

    #[test]
    fn a_million_requests_of_four_milliseconds_with_128_mb_are_500_gb_seconds() {
        let size = size(128, 10.0, 4.0);
        assert!((size.gb_seconds(0.0) - 500.0).abs() < 1e-6);
        assert!((size.gb_seconds(3_000.0) - 375_500.0).abs() < 1e-6);
    }
}
