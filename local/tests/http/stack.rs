//! The running systems that the tests share.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use local::{
    harness::contract::{Answer, Contract},
    services::Services,
    settings::{Queue, Settings, State},
    system::System,
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, time::sleep};

/// What a Basic user may post in a day.
pub const DAILY: i64 = 15;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs each rule on each kind of queue and state store, as a test of its own. For the root of a test.
macro_rules! on_every_kind {
    ($($module:ident :: $rule:ident),+ $(,)?) => {
        mod sqs_and_dynamodb {
            $(#[test] fn $rule() { super::Stack::of_aws().run(super::$module::$rule); })+
        }
        mod redis_and_redis {
            $(#[test] fn $rule() { super::Stack::of_redis().run(super::$module::$rule); })+
        }
    };
}

pub struct Stack {
    runtime: &'static Runtime,
    pub system: System,
    contract: Contract,
    pub kind: (Queue, State),
    /// The function that answers messages.
    pub worker: &'static str,
}

/// Somebody who is signed in.
pub struct User<'a> {
    stack: &'a Stack,
    token: String,
    pub id: String,
    pub mobile: String,
    pub refresh_token: String,
}

impl Stack {
    pub fn of_aws() -> &'static Self {
        static STACK: LazyLock<Stack> =
            LazyLock::new(|| start((Queue::Sqs, State::Dynamodb), "message-answer"));
        &STACK
    }

    pub fn of_redis() -> &'static Self {
        static STACK: LazyLock<Stack> =
            LazyLock::new(|| start((Queue::Redis, State::Redis), "message-drain"));
        &STACK
    }

    pub fn run(&'static self, rule: impl AsyncFnOnce(&'static Self)) {
        self.runtime.block_on(rule(self));
    }

    /// Another system of this kind, with other settings, or for a test that wants no company.
    pub async fn another(&self, settings: &[(&str, &str)]) -> Self {
        self.another_on(&services(), settings).await
    }

    /// The same over services of which a test stops one.
    pub async fn another_on(&self, services: &Services, settings: &[(&str, &str)]) -> Self {
        Self {
            runtime: self.runtime,
            system: start_system_on(services, self.kind, settings).await,
            contract: Contract::load().unwrap(),
            kind: self.kind,
            worker: self.worker,
        }
    }

    /// A number that nobody used before.
    #[expect(
        clippy::unused_self,
        reason = "it reads as the number of somebody of this system"
    )]
    pub fn mobile(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        format!("+1555{:07}", COUNT.fetch_add(1, Ordering::Relaxed))
    }

    pub fn request(&self, path: &str, body: &Value) -> RequestBuilder {
        self.system.client().post(self.system.url(path)).json(body)
    }

    /// The answer to a request; it is what the contract allows.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        self.contract.send(request).await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(path, body)).await
    }

    /// Signs a number up and gives its code.
    pub async fn code(&self, mobile: &str) -> String {
        let answer = self
            .post("/auth/signup", &json!({ "mobile": mobile }))
            .await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.body["otp"].as_str().unwrap().to_owned()
    }

    pub async fn verify(&self, mobile: &str, code: &str) -> Answer {
        self.post(
            "/auth/verify-otp",
            &json!({ "mobile": mobile, "otp": code }),
        )
        .await
    }

    pub async fn sign_in(&self, mobile: &str) -> User<'_> {
        let answer = self.verify(mobile, &self.code(mobile).await).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        User {
            stack: self,
            token: text(&answer.body["access_token"]),
            id: text(&answer.body["user"]["id"]),
            mobile: mobile.to_owned(),
            refresh_token: text(&answer.body["refresh_token"]),
        }
    }

    /// Somebody new.
    pub async fn user(&self) -> User<'_> {
        self.sign_in(&self.mobile()).await
    }

    pub async fn refresh(&self, token: &str) -> Answer {
        self.post("/auth/refresh", &json!({ "refresh_token": token }))
            .await
    }

    /// Signs in once more, with a password, and gives the refresh token.
    pub async fn second_session(&self, user: &User<'_>) -> String {
        let password = "correct horse battery";
        let set = user.request(Method::POST, "/auth/change-password");
        // Only the first time: later, one is set.
        user.send(set.json(&json!({ "new_password": password })))
            .await;
        let login = json!({ "mobile": user.mobile, "password": password });
        let answer = self.post("/auth/login", &login).await;
        answer.body["refresh_token"].as_str().unwrap().to_owned()
    }

    /// How many rows there are of what follows `from` in a statement.
    pub async fn count(&self, from: &str) -> i64 {
        let sql = format!("select count(*) from {from}");
        let database = self.system.database().await.unwrap();
        database.query_one(&sql, &[]).await.unwrap().get(0)
    }

    /// Gemini's calls for prompts that contain `part`: each call's turns as texts.
    pub async fn calls(&self, part: &str) -> Vec<Vec<String>> {
        let text = |content: &Value| content["parts"][0]["text"].as_str().unwrap().to_owned();
        let calls = self.system.gemini_calls().await.unwrap().into_iter();
        let turns = calls.map(|call| {
            call["contents"]
                .as_array()
                .unwrap()
                .iter()
                .map(text)
                .collect()
        });
        turns
            .filter(|turns: &Vec<String>| turns.last().unwrap().contains(part))
            .collect()
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

fn start(kind: (Queue, State), worker: &'static str) -> Stack {
    let runtime = Box::leak(Box::new(Runtime::new().unwrap()));
    Stack {
        runtime,
        system: runtime.block_on(start_system_on(&services(), kind, &[])),
        contract: Contract::load().unwrap(),
        kind,
        worker,
    }
}

/// Those that `cargo local test` started.
pub fn services() -> Services {
    Services::from_env().expect("run the tests with `cargo local test`")
}

async fn start_system_on(
    services: &Services,
    (queue, state): (Queue, State),
    settings: &[(&str, &str)],
) -> System {
    let common = Settings {
        queue,
        state,
        ..Settings::default()
    }
    .with("BASIC_DAILY_MESSAGES", DAILY)
    .with("OTP_CODES_PER_ADDRESS_HOUR", 100_000)
    .with("ANSWER_LEASE_SECONDS", 2)
    .with("SWEEP_AFTER_SECONDS", 2)
    .with("MESSAGE_DEADLINE_SECONDS", 60);
    let settings = settings
        .iter()
        .fold(common, |all, (name, value)| all.with(name, value));
    System::start(services, settings)
        .await
        .expect("the system starts")
}

impl User<'_> {
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self
            .stack
            .system
            .client()
            .request(method, self.stack.system.url(path));
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
        let request = self
            .request(Method::POST, "/chatroom")
            .json(&json!({ "title": "Test" }));
        let answer = self.send(request).await;
        assert_eq!(answer.status, 201);
        answer.headers["location"].to_str().unwrap().to_owned()
    }

    pub async fn try_post(&self, room: &str, content: &str) -> Answer {
        let request = self.request(Method::POST, &format!("{room}/message"));
        self.send(request.json(&json!({ "content": content })))
            .await
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
            if ["answered", "failed"]
                .iter()
                .any(|status| answer.body["status"] == *status)
            {
                return answer.body;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{message} is not settled: {}",
                answer.body
            );
        }
    }

    /// How many messages count for today.
    pub async fn used(&self) -> i32 {
        let database = self.stack.system.database().await.unwrap();
        let sql = format!(
            "select coalesce(sum(used), 0)::int4 from daily_usage where user_id = '{}'",
            self.id
        );
        database.query_one(&sql, &[]).await.unwrap().get(0)
    }
}
