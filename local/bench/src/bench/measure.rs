//! Measures one function: its start, its first request, its warm ones, and the calls they make.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::process::Command;

use super::{
    cases::{Cases, Events, sender_of_codes},
    database::Watch,
    figures::{Calls, Requests, Spread, Warm, ms},
    process::{Launcher, Process},
    quota::Quota,
    timing::{Timing, WARMING_UP},
    traffic::{count, covered, spans},
};
use local_stack::{machine::workspace::Workspace, settings::Variables};
use local_suite::proxy::Proxy;

/// The number of starts of each function.
pub const STARTS: usize = 30;

/// How often its first request is measured, how many warm ones are timed, and over how many calls are counted.
const FIRSTS: usize = 10;
const REQUESTS: usize = 200;
const COUNTED: usize = 20;

/// The services that a function's time may go to, and the variables that say where they are.
const SERVICES: [(&str, &str); 4] = [
    ("Postgres", "DATABASE_URL"),
    ("queue and state", "AWS_ENDPOINT_URL"),
    ("Stripe", "STRIPE_URL"),
    ("Gemini", "GEMINI_URL"),
];

/// Runs functions against the services.
pub struct Bench<'a> {
    pub workspace: &'a Workspace,
    pub launcher: Launcher,
    pub variables: Variables,
    pub cases: Cases<'a>,
    pub watch: Watch,
    pub logs: PathBuf,
    proxies: BTreeMap<&'static str, Proxy>,
}

impl<'a> Bench<'a> {
    /// Puts a recording proxy before each service that the variables name.
    pub async fn new(workspace: &'a Workspace, variables: Variables, cases: Cases<'a>) -> Result<Self> {
        let mut proxies = BTreeMap::new();
        for (service, variable) in SERVICES {
            proxies.insert(service, Proxy::recording(&variables[variable])?);
        }
        Ok(Self {
            workspace,
            launcher: Launcher::new()?,
            watch: Watch::over(&variables["DATABASE_URL"]).await?,
            variables,
            cases,
            logs: workspace.logs()?,
            proxies,
        })
    }

    /// Returns the proxy before a service.
    pub fn proxy(&self, service: &str) -> &Proxy {
        &self.proxies[service]
    }

    /// Starts a process, waits until it is ready, and returns how long that took.
    pub async fn ready(&self, function: &str) -> Result<(Process, Duration)> {
        self.ready_with(function, &[]).await
    }

    /// Starts a process with some other variables, and waits until it is ready.
    pub async fn ready_with(&self, function: &str, others: &[(&str, &str)]) -> Result<(Process, Duration)> {
        let command = Command::new(self.workspace.binary(function));
        self.started(function, command, others).await
    }

    /// The same under a quota.
    pub async fn ready_within(
        &self,
        quota: &Quota,
        function: &str,
        others: &[(&str, &str)],
    ) -> Result<(Process, Duration)> {
        let command = quota.command(&self.workspace.binary(function));
        self.started(function, command, others).await
    }

    async fn started(&self, function: &str, command: Command, others: &[(&str, &str)]) -> Result<(Process, Duration)> {
        let mut variables = self.variables.clone();
        let others = others.iter();
        variables.extend(others.map(|&(name, value)| (name.to_owned(), value.to_owned())));
        let process = self.launcher.launch(function, command, &variables, &self.logs);
        let mut process = process?;
        let init = process.ready().await;
        let init = init.with_context(|| format!("see {}", self.logs.display()))?;
        Ok((process, init))
    }

    /// Starts a process that reaches every service through its proxy, and waits until it is ready.
    pub async fn watched(&self, function: &str) -> Result<Process> {
        let through = |(service, variable)| (variable, self.proxy(service).url.as_str());
        Ok(self.ready_with(function, &SERVICES.map(through)).await?.0)
    }

    /// Times the start of each function. They take turns, so that a slow moment meets all of them.
    pub async fn inits(&self, functions: &[String]) -> Result<BTreeMap<String, Spread>> {
        let mut times: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for function in functions {
            self.ready(function).await?; // its file is in memory from now on
        }
        for _ in 0..STARTS {
            for function in functions {
                let (_, init) = self.ready(function).await?;
                times.entry(function.clone()).or_default().push(ms(init));
            }
        }
        let spreads = times.into_iter();
        Ok(spreads.map(|(function, times)| (function, Spread::of(times))).collect())
    }

    /// Measures a function's requests, if it can be asked on its own.
    pub async fn requests(&self, function: &str) -> Result<Option<Requests>> {
        let all = FIRSTS + WARMING_UP + COUNTED + REQUESTS;
        let mut codes = match sender_of_codes(function) {
            Some(sender) => Some(self.ready(sender).await?.0),
            None => None,
        };
        let Some(events) = self.events(function, all, codes.as_mut()).await? else {
            return Ok(None);
        };
        let (first, rest) = events.split_at(FIRSTS);
        let (counted, timed) = rest.split_at(WARMING_UP + COUNTED);
        let (first_ms, first_parts_ms) = self.first(function, first).await?;
        let calls = self.calls(function, counted).await?;
        let warm = self.warm(function, timed).await?;
        self.cases.stock.clear_queued().await?;
        Ok(Some(Requests { first_ms, first_parts_ms, warm, calls }))
    }

    /// Makes the events for so many requests, unless the function cannot be asked on its own or refuses its sample.
    pub async fn events(
        &self,
        function: &str,
        count: usize,
        codes: Option<&mut Process>,
    ) -> Result<Option<Vec<Value>>> {
        Ok(match self.cases.events(function, count, codes).await? {
            Events::Each(events) => Some(events),
            Events::Sample(event) => {
                let (mut process, _) = self.ready(function).await?;
                match process.invoke(&event).await {
                    Ok(_) => Some(vec![event; count]),
                    Err(error) => {
                        eprintln!("Only the start of {function} is measured: {error:#}");
                        None
                    }
                }
            }
            Events::None => None,
        })
    }

    /// Times the first request and each service's part of it, as medians. The rest is the function's own work.
    async fn first(&self, function: &str, events: &[Value]) -> Result<(Spread, BTreeMap<&'static str, f64>)> {
        let mut times = Vec::new();
        let mut parts: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for event in events {
            let mut process = self.watched(function).await?;
            self.forget();
            let responded = process.invoke(event).await?;
            times.push(ms(responded.time));
            let mut waited = Vec::new();
            for (name, proxy) in &self.proxies {
                let spans = spans(&proxy.take());
                parts.entry(*name).or_default().push(ms(covered(spans.clone())));
                waited.extend(spans);
            }
            let own = responded.time.saturating_sub(covered(waited));
            parts.entry("itself").or_default().push(ms(own));
        }
        let medians = parts.into_iter();
        let medians = medians.map(|(name, times)| (name, Spread::of(times).median));
        Ok((Spread::of(times), medians.filter(|(_, ms)| *ms > 0.0).collect()))
    }

    /// Counts what warm requests ask of others.
    async fn calls(&self, function: &str, events: &[Value]) -> Result<Calls> {
        let mut process = self.watched(function).await?;
        let (warming_up, events) = events.split_at(WARMING_UP);
        for event in warming_up {
            process.invoke(event).await?;
        }
        self.forget();
        let scanned = self.watch.rows_scanned().await?;
        self.watch.take_statements().await?;
        for event in events {
            process.invoke(event).await?;
        }
        let aws = self.proxy("queue and state").take();
        let executed = self.watch.take_statements().await?;
        drop(process); // now Postgres tells what it read
        tokio::time::sleep(Duration::from_millis(200)).await;
        let scanned = self.watch.rows_scanned().await? - scanned;
        #[expect(clippy::cast_precision_loss, reason = "these are small numbers")]
        let each = |count: i64| count as f64 / events.len() as f64;
        Ok(Calls {
            statements: each(executed),
            queue: each(count(&aws, "x-amz-target: AmazonSQS.").try_into()?),
            state: each(count(&aws, "x-amz-target: DynamoDB_").try_into()?),
            rows_scanned: each(scanned),
        })
    }

    async fn warm(&self, function: &str, events: &[Value]) -> Result<Warm> {
        let (process, _) = self.ready(function).await?;
        let mut timing = Timing::of(process);
        for event in events {
            timing.invoke(event).await?;
        }
        timing.figures()
    }

    /// Forgets what the proxies recorded.
    pub fn forget(&self) {
        for proxy in self.proxies.values() {
            proxy.take();
        }
    }
}
