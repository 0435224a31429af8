//! Measures one function: its start, its first request, and its warm ones.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use local_suite::single::{Driver, Process, covered, spans};
use serde_json::Value;

use super::{
    figures::{Requests, Spread, Warm, ms},
    quota::Quota,
    timing::{Timing, WARMING_UP},
};

/// The number of starts of each function.
pub const STARTS: usize = 30;

/// How often its first request is measured, and how many warm ones are timed.
const FIRSTS: usize = 10;
const REQUESTS: usize = 200;

/// Starts a process under a quota, waits until it is ready, and returns how long that took.
pub async fn ready_within(driver: &Driver, quota: &Quota, function: &str) -> Result<(Process, Duration)> {
    let command = quota.command(&driver.workspace.binary(function));
    driver.started(function, command, &[]).await
}

/// Times the start of each function. They take turns, so that a slow moment meets all of them.
pub async fn inits(driver: &Driver, functions: &[String]) -> Result<BTreeMap<String, Spread>> {
    let mut times: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for function in functions {
        driver.ready(function).await?; // its file is in memory from now on
    }
    for _ in 0..STARTS {
        for function in functions {
            let (_, init) = driver.ready(function).await?;
            times.entry(function.clone()).or_default().push(ms(init));
        }
    }
    let spreads = times.into_iter();
    Ok(spreads.map(|(function, times)| (function, Spread::of(times))).collect())
}

/// Measures a function's requests, if it can be asked on its own.
pub async fn requests(driver: &Driver, function: &str) -> Result<Option<Requests>> {
    let Some(events) = driver.events(function, FIRSTS + WARMING_UP + REQUESTS).await? else {
        return Ok(None);
    };
    let (first, timed) = events.split_at(FIRSTS);
    let (first_ms, first_parts_ms) = self::first(driver, function, first).await?;
    let warm = warm(driver, function, timed).await?;
    driver.cases.stock.clear_queued().await?;
    Ok(Some(Requests { first_ms, first_parts_ms, warm }))
}

/// Times the first request and each service's part of it, as medians. The rest is the function's own work.
async fn first(driver: &Driver, function: &str, events: &[Value]) -> Result<(Spread, BTreeMap<&'static str, f64>)> {
    let mut times = Vec::new();
    let mut parts: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for event in events {
        let mut process = driver.watched(function).await?;
        driver.forget();
        let responded = process.invoke(event).await?;
        times.push(ms(responded.time));
        let mut waited = Vec::new();
        for (name, proxy) in driver.proxies() {
            let spans = spans(&proxy.take());
            parts.entry(name).or_default().push(ms(covered(spans.clone())));
            waited.extend(spans);
        }
        let own = responded.time.saturating_sub(covered(waited));
        parts.entry("itself").or_default().push(ms(own));
    }
    let medians = parts.into_iter();
    let medians = medians.map(|(name, times)| (name, Spread::of(times).median));
    Ok((Spread::of(times), medians.filter(|(_, ms)| *ms > 0.0).collect()))
}

async fn warm(driver: &Driver, function: &str, events: &[Value]) -> Result<Warm> {
    let (process, _) = driver.ready(function).await?;
    let mut timing = Timing::of(process);
    for event in events {
        timing.invoke(event).await?;
    }
    timing.figures()
}
