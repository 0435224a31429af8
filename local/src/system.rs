//! One running system: gateway, functions, queue and Gemini, with data of its own.

use std::{
    fs,
    path::Path,
    process,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use aws_sdk_sqs::types::Message;
use reqwest::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    functions::Functions,
    gateway::Gateway,
    gemini::Gemini,
    logs::Logs,
    postgres::connect,
    process::{Group, Port},
    pump::{self, CONSUMER, Gate, SCHEDULES, pump, schedule, sqs_event},
    runtime::Runtime,
    services::Services,
    settings::{Queue, Settings, Variables},
    stripe::{Reserved, Stripe},
    tools::Tools,
    workspace::Workspace,
};

/// The ports of `cargo local`.
const API: u16 = 9000;
const GEMINI: u16 = 9001;
const STRIPE: u16 = 9002;

/// A running system. Everything it started ends when it is dropped; its data stays in the services until
/// [`System::stop`].
pub struct System {
    name: String,
    variables: Variables,
    queues: [String; 2],
    client: Client,
    logs: Arc<Logs>,
    functions: Functions,
    gateway: Arc<Gateway>,
    deliveries: Gate,
    schedules: Gate,
    _gemini: Option<Gemini>,
    stripe: Option<Stripe>,
    _tasks: JoinSet<()>,
    _group: Arc<Group>,
}

impl System {
    /// Starts a system with empty data. The functions must be built.
    ///
    /// # Errors
    /// When a part does not start; the message says which and why.
    pub async fn start(services: &Services, settings: Settings) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "local_{}_{}",
            process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let workspace = Workspace {
            release: settings.release,
            ..Workspace::find()?
        };
        let tools = Tools::install(&workspace.target).await?;
        let port = |number| {
            if settings.fixed_ports {
                Port::Fixed(number)
            } else {
                Port::Free
            }
        };
        let gemini = if settings.real_gemini {
            None
        } else {
            Some(Gemini::start(port(GEMINI))?)
        };
        let stripe = if settings.real_stripe {
            None
        } else {
            Some(Reserved::at(port(STRIPE))?)
        };

        let logs = Logs::below(&workspace.logs()?.join(&name))?;
        let group = Arc::new(Group::new(None)?);
        let gateway = Gateway::start(&tools, &workspace, &group, port(API), logs.directory());
        let (gateway, database_url, (queue_url, dead), ()) = tokio::try_join!(
            gateway,
            services.create_database(&name),
            services.aws.create_queue(&name),
            services.aws.create_table(&name),
        )?;

        let mut own: Variables = services
            .aws
            .variables()
            .map(|(name, value)| (name.into(), value))
            .into();
        own.insert("DATABASE_URL".into(), database_url);
        own.insert("QUEUE_URL".into(), queue_url.clone());
        own.insert("STATE_TABLE".into(), name.clone());
        own.extend(
            services
                .redis_url
                .clone()
                .map(|url| ("REDIS_URL".into(), url)),
        );
        own.extend(
            gemini
                .as_ref()
                .map(|gemini| ("GEMINI_URL".into(), gemini.url.clone())),
        );
        if gemini.is_some() {
            own.insert("GEMINI_API_KEY".into(), "local".into());
        }
        own.extend(
            stripe
                .as_ref()
                .map(|stripe| ("STRIPE_URL".into(), stripe.url.clone())),
        );
        let variables = settings.variables(own)?;
        let webhook = format!("{}/webhook/stripe", gateway.url);
        let stripe = stripe
            .map(|stripe| stripe.serve(webhook, &variables))
            .transpose()?;

        let gateway = Arc::new(gateway);
        let runtime = Runtime::start(gateway.clone())?;
        let functions =
            Functions::start(&workspace, &variables, &gateway, &runtime, &group, &logs)?;
        let (deliveries, schedules) = (Gate::default(), Gate::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(gateway.clone().refuse_unknown_routes());
        if settings.queue == Queue::Sqs && functions.has(CONSUMER) {
            let timeout = functions.timeout(CONSUMER) + Duration::from_secs(5);
            let sqs = services.aws.sqs.clone();
            tasks.spawn(pump(
                sqs,
                queue_url.clone(),
                gateway.clone(),
                timeout,
                deliveries.clone(),
            ));
        }
        for (function, every) in SCHEDULES {
            let wanted = function != pump::DRAIN || settings.queue == Queue::Redis;
            if wanted && functions.has(function) {
                let timeout = functions.timeout(function) + Duration::from_secs(5);
                tasks.spawn(schedule(
                    gateway.clone(),
                    function,
                    every,
                    timeout,
                    schedules.clone(),
                ));
            }
        }
        Ok(Self {
            name,
            variables,
            queues: [queue_url, dead],
            client: crate::client()?,
            logs,
            functions,
            gateway,
            deliveries,
            schedules,
            _gemini: gemini,
            stripe,
            _tasks: tasks,
            _group: group,
        })
    }

    /// Where the API is, for example `system.url("/chatroom")`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.gateway.url)
    }

    /// A client for it.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The functions' variables and `API_URL`.
    #[must_use]
    pub fn variables(&self) -> Variables {
        let mut variables = self.variables.clone();
        variables.insert("API_URL".into(), self.gateway.url.clone());
        variables
    }

    /// The Gemini stand-in's address, for its controls. The real one's has none.
    ///
    /// # Errors
    /// When this system asks the real Gemini.
    pub fn gemini_url(&self) -> Result<&str> {
        let url = self._gemini.as_ref().map(|gemini| gemini.url.as_str());
        url.context("this system asks the real Gemini")
    }

    /// Lays down how the coming calls of Gemini go; see [`crate::gemini::script::Outcome`].
    ///
    /// # Errors
    /// When the stand-in refuses an outcome.
    pub async fn script(&self, outcomes: &Value) -> Result<()> {
        let url = format!("{}/_script", self.gemini_url()?);
        let answer = self.client.post(url).json(outcomes).send().await?;
        if !answer.status().is_success() {
            bail!("the script is wrong: {}", answer.text().await?);
        }
        Ok(())
    }

    /// The bodies that Gemini received.
    ///
    /// # Errors
    /// When this system asks the real Gemini.
    pub async fn gemini_calls(&self) -> Result<Vec<Value>> {
        let url = format!("{}/_calls", self.gemini_url()?);
        Ok(self.client.get(url).send().await?.json().await?)
    }

    /// The Stripe stand-in's address, for its controls. The real one's has none.
    ///
    /// # Errors
    /// When this system asks the real Stripe.
    pub fn stripe_url(&self) -> Result<&str> {
        let url = self.stripe.as_ref().map(|stripe| stripe.url.as_str());
        url.context("this system asks the real Stripe")
    }

    /// A connection to this system's database.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn database(&self) -> Result<tokio_postgres::Client> {
        connect(&self.variables["DATABASE_URL"]).await
    }

    /// The processes of a function, idle or busy. A function has none before its first request, and after one died it
    /// gets another by the next request.
    #[must_use]
    pub fn pids(&self, function: &str) -> Vec<u32> {
        self.functions.pids(function)
    }

    /// Kills every process of a function by SIGKILL and says how many there were.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&self, function: &str) -> Result<usize> {
        let pids = self.pids(function);
        for pid in pids
            .iter()
            .filter_map(|pid| Pid::from_raw(pid.cast_signed()))
        {
            kill_process(pid, Signal::KILL)?;
        }
        Ok(pids.len())
    }

    /// The delivery of wake-ups. `let paused = system.deliveries().pause().await;` holds it until `paused` is dropped.
    #[must_use]
    pub fn deliveries(&self) -> &Gate {
        &self.deliveries
    }

    /// The scheduled calls, like the sweep.
    #[must_use]
    pub fn schedules(&self) -> &Gate {
        &self.schedules
    }

    /// Calls a function with an event.
    ///
    /// # Errors
    /// When it fails.
    pub async fn invoke(&self, function: &str, event: &Value) -> Result<Value> {
        self.gateway
            .invoke(function, event, self.functions.timeout(function))
            .await
    }

    /// Calls a scheduled function now.
    ///
    /// # Errors
    /// When it fails.
    pub async fn run_schedule(&self, function: &str) -> Result<Value> {
        self.invoke(function, &pump::scheduled_event(function))
            .await
    }

    /// Delivers message bodies as one batch, past the queue, and gives what the consumer returns. Their ids are their
    /// numbers from 0.
    ///
    /// # Errors
    /// When the consumer fails.
    pub async fn deliver(&self, bodies: &[String]) -> Result<Value> {
        let message = |(number, body): (usize, &String)| {
            Message::builder()
                .message_id(number.to_string())
                .body(body)
                .build()
        };
        let messages: Vec<_> = bodies.iter().enumerate().map(message).collect();
        self.invoke(CONSUMER, &sqs_event(&self.queues[0], &messages))
            .await
    }

    /// Delivers one wake-up for a chatroom, past the queue.
    ///
    /// # Errors
    /// When the consumer fails.
    pub async fn wake(&self, chatroom: &str) -> Result<Value> {
        self.deliver(&[json!({"chatroom_id": chatroom}).to_string()])
            .await
    }

    /// The queue's URL and that of its dead-letter queue.
    #[must_use]
    pub fn queues(&self) -> &[String; 2] {
        &self.queues
    }

    /// Prints what the functions print from now on.
    pub fn show_logs(&self) {
        self.logs.show(true);
    }

    /// Where the logs are, a file for each function.
    #[must_use]
    pub fn logs(&self) -> &Path {
        self.logs.directory()
    }

    /// Stops the system and removes its data from the services.
    ///
    /// # Errors
    /// When a service does not answer.
    pub async fn stop(self, services: &Services) -> Result<()> {
        let name = self.name.clone();
        let queues = self.queues.clone();
        drop(self);
        services.aws.remove(&queues, &name).await?;
        services.remove_database(&name).await
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(self.logs.directory()); // a failed test keeps them
        }
    }
}
