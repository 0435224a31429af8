//! A function's process that is driven through the Runtime API, one event at a time, so that its start and its requests
//! are timed and counted where they arise.

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use axum::body::Bytes;
use futures_util::TryStreamExt;
use serde_json::Value;
use tokio::{process::Command, time::timeout};

use local_stack::{
    lambda::runtime_api::{Environment, Invocation, Report, RuntimeApi},
    machine::process::{Group, log_file},
    settings::Variables,
};

/// What a process may take for its start or a request.
const PATIENCE: Duration = Duration::from_mins(1);

/// The time that an event says is left: as much as the consumer has on AWS, which hands over when it gets short.
const TIME_LEFT: Duration = Duration::from_mins(3);

/// Starts processes.
pub struct Launcher {
    runtime_api: RuntimeApi,
    group: Group,
}

/// A process that serves requests. It is killed when this is dropped.
pub struct Process {
    environment: Environment,
    function: String,
}

/// A response.
pub struct Responded {
    /// When its request was handed out.
    pub given: Instant,
    /// How long it took from there.
    pub time: Duration,
    /// The response, or what stands before a stream.
    pub body: Value,
    /// What a stream consists of, and when it came.
    pub chunks: Vec<(Instant, Bytes)>,
}

impl Launcher {
    /// Starts the Runtime API.
    pub fn new() -> Result<Self> {
        Ok(Self { runtime_api: RuntimeApi::start()?, group: Group::new(None)? })
    }

    /// Starts a function as Lambda does: with its variables and no others. What it prints goes to a log in `logs`.
    pub fn launch(&self, function: &str, mut command: Command, variables: &Variables, logs: &Path) -> Result<Process> {
        let (_, log) = log_file(logs, function)?;
        command.env_clear().envs(variables).stdout(log.try_clone()?).stderr(log);
        let spawn = |command: &mut Command| self.group.spawn(command);
        Ok(Process {
            environment: self.runtime_api.launch(function, &mut command, spawn)?,
            function: function.to_owned(),
        })
    }
}

impl Process {
    /// Waits until the process asks for its first event, and returns how long that took from its start.
    pub async fn ready(&mut self) -> Result<Duration> {
        match self.report().await? {
            Report::Asked(at) => Ok(at - self.environment.started),
            _ => bail!("{} does not ask for a request", self.function),
        }
    }

    /// Has the process serve a request, and waits until it asks for the next. What fails or responds with an error's
    /// status is an error: nobody wants to know how fast that is.
    pub async fn invoke(&mut self, event: &Value) -> Result<Responded> {
        let invocation = Invocation {
            id: self.function.clone(),
            trace: "Root=1-00000000-000000000000000000000000".to_owned(),
            event: event.to_string().into(),
        };
        let given = Instant::now();
        self.environment.give(invocation, SystemTime::now() + TIME_LEFT);
        let Report::Responded(mut response) = self.report().await? else {
            bail!("{} does not respond", self.function);
        };
        let mut chunks = Vec::new();
        let (time, body) = if response.is_streamed {
            let mut written = response.chunks();
            while let Some(chunk) = timeout(PATIENCE, written.try_next()).await?? {
                chunks.push((Instant::now(), chunk));
            }
            // A stream begins with the status and headers as JSON, which zeroes end.
            let bytes = chunks.iter().flat_map(|(_, chunk)| chunk).copied();
            (given.elapsed(), bytes.take_while(|byte| *byte != 0).collect())
        } else {
            (response.at - given, response.body().await?)
        };
        let failed = response.kind != "response";
        response.accept();
        let body: Value =
            serde_json::from_slice(&body).with_context(|| format!("{} did not respond with JSON", self.function))?;
        let refused = body["statusCode"].as_u64().is_some_and(|status| status >= 400);
        let unhandled = body["batchItemFailures"].as_array().is_some_and(|failures| !failures.is_empty());
        if failed || refused || unhandled {
            bail!("{} failed: {body}", self.function);
        }
        self.ready().await?;
        Ok(Responded { given, time, body, chunks })
    }

    /// Returns the process's id.
    pub fn pid(&self) -> Result<u32> {
        self.environment.process.id().context("the process has ended")
    }

    async fn report(&mut self) -> Result<Report> {
        let report = timeout(PATIENCE, self.environment.next_report()).await;
        report.with_context(|| format!("{} is silent for a minute", self.function))
    }
}
