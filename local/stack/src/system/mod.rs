//! Runs one system: gateway, functions, queue and Gemini, with data of its own.

mod contents;
mod controls;

use std::{
    fs, process,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::Result;
use reqwest::Client;

use crate::{
    lambda::{
        api_gateway::Gateway, entrance::Entrance, environments::Functions, functions::Catalogue, logs::Logs,
        runtime_api::RuntimeApi, triggers::Pump,
    },
    machine::{
        process::Group,
        tools::{STACK, Tools},
        workspace::Workspace,
    },
    services::{
        Services,
        aws::{Aws, VISIBILITY_TIMEOUT},
    },
    settings::{Queue, Settings, State, Variables},
};
use local_stand_ins::{
    gemini::Gemini,
    stripe::{Reserved, Stripe},
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
    client: Client,
    kind: (Queue, State),
    aws: Aws,
    logs: Arc<Logs>,
    pump: Pump,
    functions: Functions,
    entrance: Entrance,
    gateway: Arc<Gateway>,
    gemini: Option<Gemini>,
    stripe: Option<Stripe>,
    group: Arc<Group>,
}

impl System {
    /// Starts a system with empty data. The functions must be built.
    pub async fn start(services: &Services, settings: Settings) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("local_{}_{count}", process::id());
        let workspace = Workspace { release: settings.release, ..Workspace::find()? };
        let tools = Tools::install(&workspace.target, &STACK).await?;
        let gemini_port = settings.ports.port(GEMINI);
        let gemini = (!settings.real_gemini).then(|| Gemini::start(gemini_port.listen()?));
        let gemini = gemini.transpose()?;
        let stripe_port = settings.ports.port(STRIPE);
        let stripe = (!settings.real_stripe).then(|| Reserved::at(stripe_port.listen()?));
        let stripe = stripe.transpose()?;

        let catalogue = Catalogue::read(&workspace.root)?;
        let catalogue = match settings.environments {
            Some(environments) => catalogue.with_environments(environments),
            None => catalogue,
        };
        let catalogue = Arc::new(match settings.functions {
            Some(functions) => catalogue.with_only(functions),
            None => catalogue,
        });
        let logs = Logs::below(&workspace.logs()?.join(&name))?;
        let group = Arc::new(Group::new(None)?);
        let api = settings.ports.port(API).listen()?;
        let (gateway, mut own) = tokio::try_join!(
            Gateway::start(&tools, &workspace, catalogue.clone(), &group, logs.directory()),
            Box::pin(make_data(services, &name)),
        )?;
        own.extend(gemini.iter().flat_map(Gemini::variables));
        own.extend(stripe.iter().flat_map(Reserved::variables));
        let variables = settings.variables(own)?;
        let entrance = Entrance::open(api, gateway.url.clone())?;
        let client = crate::machine::http::client()?;
        let webhook = format!("{}/webhook/stripe", entrance.url);
        let stripe = stripe.map(|stripe| stripe.serve(webhook, &variables, client.clone()));

        let gateway = Arc::new(gateway);
        let runtime_api = Arc::new(RuntimeApi::start()?);
        let functions = Functions::start(&workspace, &catalogue, &variables, &gateway, &runtime_api, &group, &logs)?;
        let queue_url = &variables["QUEUE_URL"];
        Ok(Self {
            pump: Pump::start(&catalogue, &gateway, &services.aws, queue_url, settings.queue),
            kind: (settings.queue, settings.state),
            aws: services.aws.clone(),
            name,
            variables,
            client,
            logs,
            functions,
            entrance,
            gateway,
            gemini,
            stripe,
            group,
        })
    }

    /// Returns the URL of a path of the API, for example `system.url("/chatroom")`.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.entrance.url)
    }

    /// Returns a client for the API.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the functions' variables and `API_URL`.
    pub fn variables(&self) -> Variables {
        let mut variables = self.variables.clone();
        variables.insert("API_URL".into(), self.entrance.url.clone());
        variables
    }

    /// Stops the system and removes its data from the services.
    pub async fn stop(self, services: &Services) -> Result<()> {
        let (name, queue_url) = (self.name.clone(), self.variables["QUEUE_URL"].clone());
        drop(self);
        services.aws.delete_queue(&queue_url).await?;
        services.aws.delete_table(&name).await?;
        services.remove_database(&name).await
    }
}

impl Drop for System {
    fn drop(&mut self) {
        // Tasks end later than this, so they may still hold processes.
        self.logs.silence();
        self.group.kill();
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(self.logs.directory()); // a failed test keeps them
        }
    }
}

/// Makes the system's own database, queue and table, and returns the variables that name them.
pub async fn make_data(services: &Services, name: &str) -> Result<Variables> {
    let (database_url, queue_url, ()) = tokio::try_join!(
        services.create_database(name),
        services.aws.create_queue(name, VISIBILITY_TIMEOUT),
        services.aws.create_table(name),
    )?;
    let mut own = services.variables(&database_url, &queue_url, name);
    let redis = services.redis_database()?;
    own.extend(redis.map(|url| ("REDIS_URL".to_owned(), url)));
    Ok(own)
}
