//! Finds the memory size that a function should have: measures it under the share of a processor that comes with each,
//! and adds up what AWS bills for that.

use anyhow::Result;
use tokio::time::sleep;

use super::{
    cases::sender_of_codes,
    figures::{AtSize, Spread, ms},
    measure::Bench,
    quota::{PERIOD, Quota},
    timing::{Timing, WARMING_UP},
    tls::Tls,
};

/// The sizes that are compared, in MB.
const SIZES_MB: [u32; 4] = [128, 256, 512, 1_769];

/// How often a function is started with each size, and how many warm requests are timed.
const STARTS: usize = 9;
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

/// Measures a function with each size, with TLS to Postgres as on AWS. They take turns, so that a slow moment meets all
/// of them, and each request has a period to itself, as when Lambda thaws an environment for it.
pub async fn measure(bench: &Bench<'_>, quotas: &[Quota], function: &str) -> Result<Vec<AtSize>> {
    let each = STARTS + WARMING_UP + REQUESTS;
    let mut codes = match sender_of_codes(function) {
        Some(sender) => Some(bench.ready(sender).await?.0),
        None => None,
    };
    let events = bench.events(function, each * quotas.len(), codes.as_mut());
    let Some(events) = events.await? else {
        return Ok(Vec::new());
    };
    let mut events = events.iter();
    let tls = Tls::before(&bench.variables["DATABASE_URL"])?;
    let encrypted = [("DATABASE_URL", tls.url.as_str()), ("DATABASE_ROOTS", &tls.roots)];
    let ready = async |quota| bench.ready_within(quota, function, &encrypted).await;
    let mut starts = vec![(Vec::new(), Vec::new()); quotas.len()];
    for _ in 0..STARTS {
        for ((inits, firsts), (quota, event)) in starts.iter_mut().zip(quotas.iter().zip(&mut events)) {
            let (mut process, init) = ready(quota).await?;
            inits.push(ms(init));
            sleep(PERIOD).await;
            firsts.push(ms(process.invoke(event).await?.time));
        }
    }
    let mut timings = Vec::new();
    for quota in quotas {
        timings.push(Timing::of(ready(quota).await?.0));
    }
    for _ in 0..WARMING_UP + REQUESTS {
        for (timing, event) in timings.iter_mut().zip(&mut events) {
            timing.invoke(event).await?;
        }
        sleep(PERIOD).await;
    }
    bench.cases.stock.clear_queued().await?;
    let sizes = quotas.iter().zip(starts).zip(timings);
    sizes
        .map(|((quota, (inits, firsts)), timing)| {
            Ok(AtSize {
                memory_mb: quota.memory_mb,
                init_ms: Spread::of(inits),
                first_ms: Spread::of(firsts),
                billed_ms: timing.billed(),
                warm: timing.figures()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::figures::Warm, *};

    fn size(memory_mb: u32, p99_ms: f64, billed_ms: f64) -> AtSize {
        let spread = Spread::of(vec![0.0]);
        let warm = Warm { p50_ms: 0.0, p99_ms, cpu_ms: 0.0, peak_mb: 0.0 };
        AtSize { memory_mb, init_ms: spread, first_ms: spread, warm, billed_ms }
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
