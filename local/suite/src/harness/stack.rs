//! Starts systems for tests: an API, and the controls of its parts.

use std::ops::Deref;

use tokio::{select, sync::mpsc, task::AbortHandle};

use super::{Api, Codes, api::Check, must};
use local_stack::{lambda::functions::worker, services::Services, settings::Settings, system::System};

tokio::task_local! {
    /// Takes the panics of the systems that a rule starts.
    static PANICS: mpsc::Sender<String>;
}

/// Runs a rule, and panics at once when a function of `stack`, or of a system that the rule starts, has panicked: what
/// the rule waits for would never come.
pub async fn run(stack: &Stack, rule: impl Future<Output = ()>) {
    let (give, mut panics) = mpsc::channel(1);
    select! {
        () = PANICS.scope(give, rule) => {}
        Some(panic) = stack.system.panic() => panic!("{panic}\nsee {}", stack.system.logs().display()),
        Some(panic) = panics.recv() => panic!("{panic}"),
    }
}

/// A running system and its API.
pub struct Stack {
    /// The controls of its parts.
    pub system: System,
    /// What it was started with.
    pub settings: Settings,
    api: Api,
    panics: Option<AbortHandle>,
}

impl Deref for Stack {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Stack {
    /// Starts a system with empty data, whose responses are held to a contract.
    pub async fn start(services: &Services, settings: Settings, check: Check) -> Self {
        let system = System::start(services, settings.clone()).await;
        let system = must(system, "the system does not start");
        let mut api = Api::of(&system);
        let variables = system.variables();
        if variables["OTP_DELIVERY"] == "sns" {
            api.codes = Codes::BySms(variables["AWS_ENDPOINT_URL"].clone());
        }
        let panics = PANICS.try_with(Clone::clone).ok().map(|panics| {
            let panic = system.panic();
            let tell = async move {
                if let Some(panic) = panic.await {
                    let _ = panics.send(panic).await; // the rule may be over
                }
            };
            tokio::spawn(tell).abort_handle()
        });
        Self { settings, api: Api { check, ..api }, panics, system }
    }

    /// Lets functions of this system panic: its rule provokes that.
    pub fn may_panic(&self) {
        if let Some(panics) = &self.panics {
            panics.abort();
        }
    }

    /// Starts another system of this kind with some other settings, or for a test that wants no company.
    pub async fn another(&self, settings: &[(&str, &str)]) -> Self {
        self.another_on(&Self::services(), settings).await
    }

    /// Starts another system over services of which the test stops one.
    pub async fn another_on(&self, services: &Services, settings: &[(&str, &str)]) -> Self {
        let all = settings.iter();
        let all = all.fold(self.settings.clone(), |all, (name, value)| all.with(name, value));
        Self::start(services, all, self.api.check).await
    }

    /// Stops the system and removes its data.
    pub async fn stop(self) {
        must(self.system.stop(&Self::services()).await, "its data stays");
    }

    /// Finds the services that `cargo local test` started.
    pub fn services() -> Services {
        must(Services::from_env(), "there are no services")
    }

    /// Names the function that answers messages.
    pub fn worker(&self) -> &'static str {
        worker(self.settings.queue)
    }
}
