//! Measuring one function: its start, its first request, its warm ones, and what they ask of others.

use std::{collections::BTreeMap, fs::File, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{
    cases::{Cases, repeats, sender_of_codes},
    database::{Watch, bare},
    driver::{Driver, Environment},
    figures::{Calls, Requests, Spread, Warm, ms},
    relay::{Relay, count, covered, spans},
    timing::{Timing, WARMING_UP},
    wire::{Statement, statements},
};
use crate::{
    machine::{process::log_file, workspace::Workspace},
    services::postgres::{Postgres, split},
    settings::Variables,
};

/// How often a function is started.
pub const STARTS: usize = 30;

/// How often its first request is measured, how many warm ones are timed, and over how many calls are counted.
const FIRSTS: usize = 10;
const REQUESTS: usize = 200;
const COUNTED: usize = 20;

/// What functions are run with.
pub struct Bench<'a> {
    pub workspace: &'a Workspace,
    pub driver: Driver,
    pub variables: Variables,
    pub cases: Cases<'a>,
    pub watch: Watch,
    pub postgres: &'a Postgres,
    pub logs: PathBuf,
    relays: BTreeMap<&'static str, Relay>,
}

impl<'a> Bench<'a> {
    /// With a relay in front of each service that the variables name.
    pub async fn new(
        workspace: &'a Workspace,
        variables: Variables,
        cases: Cases<'a>,
        postgres: &'a Postgres,
    ) -> Result<Self> {
        let database = split(&variables["DATABASE_URL"])?.0;
        let (_, database) = database.rsplit_once('@').context("no host")?;
        let mut relays = BTreeMap::from([("Postgres", Relay::to(database)?)]);
        for (name, variable) in [
            ("queue and state", "AWS_ENDPOINT_URL"),
            ("Stripe", "STRIPE_URL"),
            ("Gemini", "GEMINI_URL"),
        ] {
            let (_, address) = variables[variable].split_once("://").context("no URL")?;
            relays.insert(name, Relay::to(address)?);
        }
        Ok(Self {
            workspace,
            driver: Driver::start()?,
            watch: Watch::over(&variables["DATABASE_URL"]).await?,
            variables,
            cases,
            postgres,
            logs: workspace.logs()?,
            relays,
        })
    }

    /// The relay in front of a service.
    pub fn relay(&self, service: &str) -> &Relay {
        &self.relays[service]
    }

    fn start(&self, function: &str, variables: &Variables) -> Result<Environment> {
        let binary = self.workspace.binary(function);
        let log: File = log_file(&self.logs, function)?.1;
        self.driver.launch(function, &binary, variables, log)
    }

    /// A process that is ready, and how long that took.
    pub async fn ready(&self, function: &str) -> Result<(Environment, Duration)> {
        let mut environment = self.start(function, &self.variables)?;
        let init = environment.ready().await;
        let init = init.with_context(|| format!("see {}", self.logs.display()))?;
        Ok((environment, init))
    }

    /// A process that is ready and reaches every service through its relay.
    pub async fn watched(&self, function: &str) -> Result<Environment> {
        let mut variables = self.variables.clone();
        let through = |url: &str, relay: &Relay| {
            let (scheme, rest) = url.split_once("://").unwrap_or_default();
            let end = rest.find('/').unwrap_or(rest.len());
            let start = rest[..end].find('@').map_or(0, |at| at + 1);
            let (user, path) = (&rest[..start], &rest[end..]);
            format!("{scheme}://{user}{}{path}", relay.address)
        };
        for (name, service) in [
            ("DATABASE_URL", "Postgres"),
            ("AWS_ENDPOINT_URL", "queue and state"),
            ("STRIPE_URL", "Stripe"),
            ("GEMINI_URL", "Gemini"),
        ] {
            let url = through(&variables[name], self.relay(service));
            variables.insert(name.to_owned(), url);
        }
        let mut environment = self.start(function, &variables)?;
        environment.ready().await?;
        Ok(environment)
    }

    /// How long each function takes to start. They take turns, so that a slow moment meets all of them.
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
        Ok(spreads
            .map(|(function, times)| (function, Spread::of(times)))
            .collect())
    }

    /// The figures of a function's requests, if it can be asked on its own.
    pub async fn requests(&self, function: &str) -> Result<Option<Requests>> {
        let all = FIRSTS + WARMING_UP + COUNTED + REQUESTS;
        let mut codes = match sender_of_codes(function) {
            Some(sender) => Some(self.ready(sender).await?.0),
            None => None,
        };
        let events = self.cases.events(function, all, codes.as_mut()).await?;
        let Some(events) = events else {
            return Ok(None);
        };
        let (first, rest) = events.split_at(FIRSTS);
        let (counted, timed) = rest.split_at(WARMING_UP + COUNTED);
        let (first_ms, first_parts_ms) = self.first(function, first).await?;
        let (calls, twice) = self.calls(function, counted).await?;
        let warm = self.warm(function, timed).await?;
        let bare_statement_ms = match twice {
            Some(twice) if repeats(function) => {
                Some(bare(self.postgres, &self.variables["DATABASE_URL"], &twice).await?)
            }
            _ => None,
        };
        self.cases.stock.clear_queued().await?;
        Ok(Some(Requests {
            first_ms,
            first_parts_ms,
            warm,
            calls,
            bare_statement_ms,
        }))
    }

    /// The first request, and the medians of what it waited for. The rest of it is the function's own work.
    async fn first(
        &self,
        function: &str,
        events: &[Value],
    ) -> Result<(Spread, BTreeMap<&'static str, f64>)> {
        let mut times = Vec::new();
        let mut parts: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for event in events {
            let mut environment = self.watched(function).await?;
            self.forget();
            let answered = environment.invoke(event).await?;
            times.push(ms(answered.time));
            let mut waited = Vec::new();
            for (name, relay) in &self.relays {
                let spans = spans(&relay.take());
                parts
                    .entry(*name)
                    .or_default()
                    .push(ms(covered(spans.clone())));
                waited.extend(spans);
            }
            let own = answered.time.saturating_sub(covered(waited));
            parts.entry("itself").or_default().push(ms(own));
        }
        let medians = parts.into_iter();
        let medians = medians.map(|(name, times)| (name, Spread::of(times).median));
        Ok((
            Spread::of(times),
            medians.filter(|(_, ms)| *ms > 0.0).collect(),
        ))
    }

    /// What warm requests ask of others, and the statements of two of them when each sends one.
    async fn calls(
        &self,
        function: &str,
        events: &[Value],
    ) -> Result<(Calls, Option<[Statement; 2]>)> {
        let mut environment = self.watched(function).await?;
        let (warming_up, events) = events.split_at(WARMING_UP);
        for event in warming_up {
            environment.invoke(event).await?;
        }
        self.forget();
        let scanned = self.watch.rows_scanned().await?;
        self.watch.take_statements().await?;
        for event in events {
            environment.invoke(event).await?;
        }
        let aws = self.relay("queue and state").take();
        let mut sent = statements(&self.relay("Postgres").take());
        let executed = self.watch.take_statements().await?;
        drop(environment); // now Postgres tells what it read
        tokio::time::sleep(Duration::from_millis(200)).await;
        let scanned = self.watch.rows_scanned().await? - scanned;
        #[expect(clippy::cast_precision_loss, reason = "these are small numbers")]
        let each = |count: i64| count as f64 / events.len() as f64;
        let calls = Calls {
            statements: each(executed),
            queue: each(count(&aws, "x-amz-target: AmazonSQS.").try_into()?),
            state: each(count(&aws, "x-amz-target: DynamoDB_").try_into()?),
            rows_scanned: each(scanned),
        };
        let one_each = sent.len() == events.len();
        let twice = (sent.pop(), sent.pop());
        Ok(match twice {
            (Some(last), Some(before)) if one_each => (calls, Some([before, last])),
            _ => (calls, None),
        })
    }

    async fn warm(&self, function: &str, events: &[Value]) -> Result<Warm> {
        let (environment, _) = self.ready(function).await?;
        let mut timing = Timing::of(environment);
        for event in events {
            timing.invoke(event).await?;
        }
        timing.figures()
    }

    /// Forgets what went through the relays.
    pub fn forget(&self) {
        for relay in self.relays.values() {
            relay.take();
        }
    }
}
