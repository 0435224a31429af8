//! The running systems that the tests share.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use local::{
    Queue, Services, Settings, State, System,
    contract::{Answer, Contract},
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, time::sleep};

/// What a Basic user may post in a day.
pub const DAILY: i64 = 15;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Stack {
    runtime: Runtime,
    pub system: System,
    contract: Contract,
    kind: (Queue, State),
    /// The function that answers messages.
    pub worker: &'static str,
}

/// Somebody who is signed in.
pub struct User<'a> {
    stack: &'a Stack,
    token: String,
    pub id: String,
}

impl Stack {
    pub fn of_aws() -> &'static Self {
        static STACK: LazyLock<Stack> = LazyLock::new(|| start(Queue::Sqs, State::Dynamodb, "message-answer"));
        &STACK
    }

    pub fn of_redis() -> &'static Self {
        static STACK: LazyLock<Stack> = LazyLock::new(|| start(Queue::Redis, State::Redis, "message-drain"));
        &STACK
    }

    pub fn run(&'static self, rule: impl AsyncFnOnce(&'static Self)) {
        self.runtime.block_on(rule(self));
    }

    /// Another system of this kind, for a test that wants no company.
    pub async fn another(&self) -> Self {
        Self {
            runtime: Runtime::new().unwrap(),
            system: start_system(self.kind.0, self.kind.1).await,
            contract: Contract::load().unwrap(),
            ..*self
        }
    }

    /// Somebody new.
    pub async fn user(&self) -> User<'_> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mobile = format!("+1555{:07}", COUNT.fetch_add(1, Ordering::Relaxed));
        let post = async |path, body: Value| {
            let request = self.system.client().post(self.system.url(path));
            self.contract.send(request.json(&body)).await.unwrap().body
        };
        let code = post("/auth/signup", json!({ "mobile": mobile })).await;
        let session = post("/auth/verify-otp", json!({ "mobile": mobile, "otp": code["otp"] })).await;
        User {
            stack: self,
            token: session["access_token"].as_str().unwrap().to_owned(),
            id: session["user"]["id"].as_str().unwrap().to_owned(),
        }
    }

    /// The last contents of Gemini's calls for prompts that contain `part`: each call's turns as texts.
    pub async fn calls(&self, part: &str) -> Vec<Vec<String>> {
        let text = |content: &Value| content["parts"][0]["text"].as_str().unwrap().to_owned();
        let calls = self.system.gemini_calls().await.unwrap().into_iter();
        let turns = calls.map(|call| call["contents"].as_array().unwrap().iter().map(text).collect());
        turns.filter(|turns: &Vec<String>| turns.last().unwrap().contains(part)).collect()
    }

    /// Waits until Gemini was called for a prompt that contains `part`.
    pub async fn called(&self, part: &str) {
        let start = Instant::now();
        while self.calls(part).await.is_empty() {
            assert!(start.elapsed() < PATIENCE, "Gemini was not asked {part:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn start(queue: Queue, state: State, worker: &'static str) -> Stack {
    let runtime = Runtime::new().unwrap();
    let system = runtime.block_on(start_system(queue, state));
    Stack {
        runtime,
        system,
        contract: Contract::load().unwrap(),
        kind: (queue, state),
        worker,
    }
}

async fn start_system(queue: Queue, state: State) -> System {
    let settings = Settings { queue, state, ..Settings::default() }
        .with("BASIC_DAILY_MESSAGES", DAILY)
        .with("OTP_CODES_PER_ADDRESS_HOUR", 100_000)
        .with("ANSWER_LEASE_SECONDS", 2)
        .with("SWEEP_AFTER_SECONDS", 2)
        .with("MESSAGE_DEADLINE_SECONDS", 60);
    let services = Services::from_env().expect("run the tests with `cargo local test`");
    System::start(&services, settings).await.expect("the system starts")
}

impl User<'_> {
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.stack.system.client().request(method, self.stack.system.url(path));
        request.bearer_auth(&self.token)
    }

    /// The answer to a request; it is what the contract allows.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        self.stack.contract.send(request).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// Opens a chatroom and gives its path.
    pub async fn room(&self) -> String {
        let request = self.request(Method::POST, "/chatroom").json(&json!({ "title": "Test" }));
        let answer = self.send(request).await;
        assert_eq!(answer.status, 201);
        answer.headers["location"].to_str().unwrap().to_owned()
    }

    pub async fn try_post(&self, room: &str, content: &str) -> Answer {
        let request = self.request(Method::POST, &format!("{room}/message"));
        self.send(request.json(&json!({ "content": content }))).await
    }

    /// Posts a message and gives its path.
    pub async fn post(&self, room: &str, content: &str) -> String {
        let answer = self.try_post(room, content).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.headers["location"].to_str().unwrap().to_owned()
    }

    /// Waits until a message is settled.
    pub async fn settled(&self, message: &str) -> Value {
        let start = Instant::now();
        loop {
            let answer = self.get(&format!("{message}?wait=20")).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            if ["answered", "failed"].iter().any(|status| answer.body["status"] == *status) {
                return answer.body;
            }
            assert!(start.elapsed() < PATIENCE, "{message} is not settled: {}", answer.body);
        }
    }

    /// How many messages count for today.
    pub async fn used(&self) -> i32 {
        let database = self.stack.system.database().await.unwrap();
        let sql = format!("select coalesce(sum(used), 0)::int4 from daily_usage where user_id = '{}'", self.id);
        database.query_one(&sql, &[]).await.unwrap().get(0)
    }
}
