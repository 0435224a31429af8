//! Starts the systems that the rules share. Each is started by the first rule that asks for it, and ends with the
//! process.

use std::sync::LazyLock;

use local_stack::{
    lambda::triggers::Paused,
    settings::{Queue, Settings, State},
};
use local_suite::harness::{Stack, contract, run};
use reqwest::Method;
use serde_json::json;
use tokio::{runtime::Runtime, sync::Mutex};

/// The number of messages of a Basic user in a day.
pub const DAILY: i64 = 15;

/// The secrets of the webhook, of which one is about to go.
pub const SECRETS: [&str; 2] = ["whsec_going", "whsec_coming"];

/// Makes tests of a file's rules, each on one system: `on!(sqs: a_message_moves_its_room_to_the_top_of_the_list);`.
/// A test has its file's name before the system's, so both choose tests.
macro_rules! on {
    ($system:ident: $($rule:ident),+ $(,)?) => {
        mod $system {
            $(#[test] fn $rule() { crate::stacks::$system().run(super::$rule); })+
        }
    };
}

/// Makes tests of a file's rules, each on each kind of queue and state store.
macro_rules! on_every_kind {
    ($($rule:ident),+ $(,)?) => {
        mod sqs_and_dynamodb {
            $(#[test] fn $rule() { crate::stacks::sqs().run(super::$rule); })+
        }
        mod redis_and_redis {
            $(#[test] fn $rule() { crate::stacks::redis().run(super::$rule); })+
        }
    };
}

/// A system with the threads that its tasks run on.
pub struct Shared {
    runtime: Runtime,
    stack: Stack,
    /// On a system where rules run one at a time, and nothing on a schedule.
    turn: Option<(Mutex<()>, Paused)>,
}

/// Returns the system with wake-ups in SQS and state in `DynamoDB`.
pub fn sqs() -> &'static Shared {
    static SHARED: LazyLock<Shared> = LazyLock::new(|| Shared::start(settings(Queue::Sqs, State::Dynamodb)));
    &SHARED
}

/// Returns the system with wake-ups and state in Redis.
pub fn redis() -> &'static Shared {
    static SHARED: LazyLock<Shared> = LazyLock::new(|| Shared::start(settings(Queue::Redis, State::Redis)));
    &SHARED
}

/// Returns the system for rules that script Stripe or hold its deliveries back.
pub fn alone() -> &'static Shared {
    static SHARED: LazyLock<Shared> = LazyLock::new(|| {
        let settings = settings(Queue::Sqs, State::Dynamodb).with("SYNC_AFTER_SECONDS", 0);
        let shared = Shared::start(settings);
        let schedules = shared.stack.system.schedules().pause();
        let schedules = shared.runtime.block_on(schedules);
        Shared { turn: Some((Mutex::default(), schedules)), ..shared }
    });
    &SHARED
}

/// Short times, wide limits, and whatever can be cached: over Redis that is so by default.
pub fn settings(queue: Queue, state: State) -> Settings {
    let settings = Settings { queue, state, ..Settings::default() };
    let settings = if state == State::Redis { settings } else { settings.with("CHATROOM_CACHE", "state") };
    settings
        .with("BASIC_DAILY_MESSAGES", DAILY)
        .with("BASIC_DAILY_TOKENS", 10_000_000)
        .with("ANSWER_LEASE_SECONDS", 2)
        .with("SWEEP_AFTER_SECONDS", 2)
        .with("MESSAGE_DEADLINE_SECONDS", 60)
        .with("STRIPE_WEBHOOK_SECRET", SECRETS.join(", "))
}

impl Shared {
    fn start(settings: Settings) -> Self {
        let runtime = Runtime::new().unwrap();
        let services = Stack::services();
        let stack = Stack::start(&services, settings, contract::check);
        Self { stack: runtime.block_on(stack), runtime, turn: None }
    }

    /// Runs a rule.
    pub fn run(&'static self, rule: impl AsyncFnOnce(&'static Stack)) {
        self.runtime.block_on(async {
            let Some((turn, _)) = &self.turn else {
                return run(&self.stack, rule(&self.stack)).await;
            };
            let _turn = turn.lock().await;
            // A rule that failed may have left something behind.
            self.stack.post_stripe("/_release", json!({ "order": [] })).await;
            let script = self.stack.stripe(Method::DELETE, "/_script");
            self.stack.ask_stripe(script).await;
            run(&self.stack, rule(&self.stack)).await;
        });
    }
}
