//! Drives one function's process without a gateway, through the Runtime API, and counts what it asks of others.

mod cases;
mod process;
mod stock;
mod traffic;
mod watch;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use local_stack::{
    lambda::functions::Catalogue,
    machine::{http, ports::Port, workspace::Workspace},
    services::Services,
    settings::{Queue, Settings, State, Variables},
    system::make_data,
};
use local_stand_ins::{
    gemini::Gemini,
    stripe::{Reserved, Stripe},
};
use serde_json::Value;
use tokio::{process::Command, time::sleep};

use crate::proxy::Proxy;
use process::Launcher;
use stock::Stock;
use traffic::count;

pub use cases::{Cases, Events, sender_of_codes};
pub use process::{Process, Responded};
pub use traffic::{covered, spans};
pub use watch::Watch;

/// The services that a function's time may go to, and the variables that say where they are.
const SERVICES: [(&str, &str); 4] = [
    ("Postgres", "DATABASE_URL"),
    ("queue and state", "AWS_ENDPOINT_URL"),
    ("Stripe", "STRIPE_URL"),
    ("Gemini", "GEMINI_URL"),
];

/// Limits that nobody reaches here.
const WIDE: [&str; 4] =
    ["BASIC_DAILY_MESSAGES", "STRIPE_PAGES_PER_USER_HOUR", "CHATROOMS_PER_USER", "NEW_CHATROOMS_PER_USER_HOUR"];

/// Runs functions against services, stand-ins and a filled database.
pub struct Driver {
    /// Where the binaries are.
    pub workspace: Workspace,
    /// What functions are asked.
    pub cases: Cases,
    /// Postgres's own statistics.
    pub watch: Watch,
    /// The functions' variables.
    pub variables: Variables,
    launcher: Launcher,
    logs: PathBuf,
    proxies: BTreeMap<&'static str, Proxy>,
    _gemini: Gemini,
    _stripe: Stripe,
}

/// What requests ask of others, in all.
#[derive(Debug, Clone)]
pub struct Calls {
    /// SQL statements.
    pub statements: i64,
    /// Calls of the queue.
    pub queue: usize,
    /// Calls of the state store.
    pub state: usize,
    /// Rows that the statements read by sequential scans, by table.
    pub scanned: BTreeMap<String, i64>,
}

impl Driver {
    /// Fills a database of `services`, and puts a recording proxy before each service.
    pub async fn start(workspace: Workspace, catalogue: Catalogue, services: &Services) -> Result<Self> {
        let gemini = Gemini::start(Port::Free.listen()?)?;
        let stripe = Reserved::at(Port::Free.listen()?)?;
        let mut own = make_data(services, &format!("single_{}", std::process::id())).await?;
        own.extend(gemini.variables());
        own.extend(stripe.variables());
        let settings = Settings { queue: Queue::Sqs, state: State::Dynamodb, ..Settings::default() };
        let settings = WIDE.iter().fold(settings, |settings, name| settings.with(name, 1_000_000));
        let variables = settings.with("BASIC_DAILY_TOKENS", 1_000_000_000).variables(own)?;
        let nobody = "http://127.0.0.1:9/".to_owned(); // events are made here
        let stock = Stock::lay(&variables["DATABASE_URL"], &variables["JWT_PRIVATE_KEY"]).await?;
        let mut proxies = BTreeMap::new();
        for (service, variable) in SERVICES {
            proxies.insert(service, Proxy::recording(&variables[variable])?);
        }
        Ok(Self {
            logs: workspace.logs()?,
            workspace,
            cases: Cases::new(catalogue, stock, variables.clone()),
            watch: Watch::over(&variables["DATABASE_URL"]).await?,
            launcher: Launcher::new()?,
            proxies,
            _gemini: gemini,
            _stripe: stripe.serve(nobody, &variables, http::client()?),
            variables,
        })
    }

    /// Returns the proxy before a service.
    pub fn proxy(&self, service: &str) -> &Proxy {
        &self.proxies[service]
    }

    /// Returns the proxies by their services.
    pub fn proxies(&self) -> impl Iterator<Item = (&'static str, &Proxy)> {
        self.proxies.iter().map(|(service, proxy)| (*service, proxy))
    }

    /// Forgets what the proxies recorded.
    pub fn forget(&self) {
        for proxy in self.proxies.values() {
            proxy.take();
        }
    }

    /// Starts a process, waits until it is ready, and returns how long that took.
    pub async fn ready(&self, function: &str) -> Result<(Process, Duration)> {
        self.started(function, Command::new(self.workspace.binary(function)), &[]).await
    }

    /// Starts a process that reaches every service through its proxy, and waits until it is ready.
    pub async fn watched(&self, function: &str) -> Result<Process> {
        let through = |(service, variable)| (variable, self.proxy(service).url.as_str());
        let command = Command::new(self.workspace.binary(function));
        Ok(self.started(function, command, &SERVICES.map(through)).await?.0)
    }

    /// Starts a function by a command and with some other variables, and waits until it is ready.
    pub async fn started(
        &self,
        function: &str,
        command: Command,
        others: &[(&str, &str)],
    ) -> Result<(Process, Duration)> {
        let mut variables = self.variables.clone();
        variables.extend(others.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        let mut process = self.launcher.launch(function, command, &variables, &self.logs)?;
        let init = process.ready().await.with_context(|| format!("see {}", self.logs.display()))?;
        Ok((process, init))
    }

    /// Makes the events for so many requests, unless the function cannot be asked on its own or refuses its sample.
    pub async fn events(&self, function: &str, count: usize) -> Result<Option<Vec<Value>>> {
        let mut codes = match sender_of_codes(function) {
            Some(sender) => Some(self.ready(sender).await?.0),
            None => None,
        };
        Ok(match self.cases.events(function, count, codes.as_mut()).await? {
            Events::Each(events) => Some(events),
            Events::Sample(event) => {
                let (mut process, _) = self.ready(function).await?;
                match process.invoke(&event).await {
                    Ok(_) => Some(vec![event; count]),
                    Err(error) => {
                        eprintln!("Only the start of {function} is known: {error:#}");
                        None
                    }
                }
            }
            Events::None => None,
        })
    }

    /// Counts what requests ask of others, after `warming_up` that are not counted.
    pub async fn calls(&self, function: &str, events: &[Value], warming_up: usize) -> Result<Calls> {
        let sessions = self.watch.sessions().await?;
        let mut process = self.watched(function).await?;
        let (warming_up, events) = events.split_at(warming_up);
        for event in warming_up {
            process.invoke(event).await?;
        }
        self.forget();
        let before = self.watch.scanned().await?;
        self.watch.take_statements().await?;
        for event in events {
            process.invoke(event).await?;
        }
        let aws = self.proxy("queue and state").take();
        let statements = self.watch.take_statements().await?;
        drop(process);
        while self.watch.sessions().await? > sessions {
            sleep(Duration::from_millis(20)).await; // then Postgres tells what the process read
        }
        let mut scanned = self.watch.scanned().await?;
        for (table, rows) in &mut scanned {
            *rows -= before.get(table).copied().unwrap_or_default();
        }
        scanned.retain(|_, rows| *rows > 0);
        Ok(Calls {
            statements,
            queue: count(&aws, "x-amz-target: AmazonSQS."),
            state: count(&aws, "x-amz-target: DynamoDB_"),
            scanned,
        })
    }
}
