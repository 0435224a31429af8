//! The running systems, and somebody who uses them.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use local::{
    harness::contract::{Answer, Contract},
    lambda::triggers::Paused,
    services::Services,
    settings::Settings,
    system::System,
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, sync::Mutex, time::sleep};

/// The secrets of the webhook, of which one is about to go.
pub const SECRETS: [&str; 2] = ["whsec_going", "whsec_coming"];

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Stack {
    runtime: Runtime,
    pub system: System,
    pub contract: Contract,
    /// For tests that want no company.
    turn: Option<Mutex<()>>,
    /// Only a test runs what is scheduled.
    _schedules: Paused,
}

/// Somebody who is signed in.
pub struct User<'a> {
    pub stack: &'a Stack,
    token: String,
    pub id: String,
}

/// Seconds since 1970, as Stripe counts.
pub fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs()
}

impl Stack {
    pub fn shared() -> &'static Self {
        static STACK: LazyLock<Stack> = LazyLock::new(|| start(None));
        &STACK
    }

    pub fn alone() -> &'static Self {
        static STACK: LazyLock<Stack> = LazyLock::new(|| start(Some(Mutex::default())));
        &STACK
    }

    pub fn run(&'static self, rule: impl AsyncFnOnce(&'static Self)) {
        self.runtime.block_on(async {
            let _turn = match &self.turn {
                Some(turn) => Some(turn.lock().await),
                None => None,
            };
            if self.turn.is_some() {
                // What a test that failed has left behind.
                self.post_stripe("/_release", json!({ "order": [] })).await;
                self.ask_stripe(self.stripe(Method::DELETE, "/_script"))
                    .await;
            }
            rule(self).await;
        });
    }

    /// A system whose parts a test can stop.
    pub async fn of(runtime: Runtime, services: &Services) -> Self {
        let settings = Settings::default()
            .with("STRIPE_WEBHOOK_SECRET", SECRETS.join(", "))
            .with("BASIC_DAILY_MESSAGES", 5)
            .with("PRO_DAILY_MESSAGES", 1_000)
            .with("OTP_CODES_PER_ADDRESS_HOUR", 100_000)
            .with("SYNC_AFTER_SECONDS", 0);
        let system = System::start(services, settings)
            .await
            .expect("the system starts");
        Self {
            runtime,
            contract: Contract::load().unwrap(),
            turn: None,
            _schedules: system.schedules().pause().await,
            system,
        }
    }

    /// Somebody new.
    pub async fn user(&self) -> User<'_> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mobile = format!("+1556{:07}", COUNT.fetch_add(1, Ordering::Relaxed));
        let post = async |path, body: Value| {
            let request = self.system.client().post(self.system.url(path));
            self.contract.send(request.json(&body)).await.unwrap().body
        };
        let code = post("/auth/signup", json!({ "mobile": mobile })).await;
        let verify = json!({ "mobile": mobile, "otp": code["otp"] });
        let session = post("/auth/verify-otp", verify).await;
        User {
            stack: self,
            token: session["access_token"].as_str().unwrap().to_owned(),
            id: session["user"]["id"].as_str().unwrap().to_owned(),
        }
    }

    /// A request to Stripe, with the key of its API.
    pub fn stripe(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.system.stripe_url().unwrap());
        let request = self.system.client().request(method, url);
        request.bearer_auth("sk_test_local")
    }

    /// What Stripe answers when it is well.
    pub async fn ask_stripe(&self, request: RequestBuilder) -> Value {
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{status}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub async fn get_stripe(&self, path: &str) -> Value {
        self.ask_stripe(self.stripe(Method::GET, path)).await
    }

    pub async fn post_stripe(&self, path: &str, body: Value) -> Value {
        self.ask_stripe(self.stripe(Method::POST, path).json(&body))
            .await
    }

    /// The only value of the only row of a query.
    pub async fn value<T>(&self, sql: &str) -> T
    where
        T: for<'a> tokio_postgres::types::FromSql<'a>,
    {
        let database = self.system.database().await.unwrap();
        database.query_one(sql, &[]).await.unwrap().get(0)
    }

    pub async fn execute(&self, sql: &str) {
        let database = self.system.database().await.unwrap();
        database.batch_execute(sql).await.unwrap();
    }
}

fn start(turn: Option<Mutex<()>>) -> Stack {
    let services = Services::from_env().expect("run the tests with `cargo local test`");
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle().clone();
    let stack = handle.block_on(Stack::of(runtime, &services));
    Stack { turn, ..stack }
}

impl User<'_> {
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let system = &self.stack.system;
        let request = system.client().request(method, system.url(path));
        request.bearer_auth(&self.token)
    }

    /// The answer to a request; it is what the contract allows.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        self.stack.contract.send(request).await.unwrap()
    }

    /// The body of the answer to a request without one, when its status is the expected one.
    pub async fn call(&self, method: Method, path: &str, expected: u16) -> Value {
        let answer = self.send(self.request(method, path)).await;
        assert_eq!(answer.status, expected, "{}", answer.body);
        answer.body
    }

    pub async fn status(&self) -> Value {
        self.call(Method::GET, "/subscription/status", 200).await
    }

    pub async fn subscribe(&self) -> Value {
        self.call(Method::POST, "/subscribe/pro", 200).await
    }

    /// Pays on the page, as its button does.
    pub async fn pay(&self, page: &Value) {
        let path = format!("/_pay/{}", page["session_id"].as_str().unwrap());
        self.stack
            .ask_stripe(self.stack.stripe(Method::POST, &path))
            .await;
    }

    /// Subscribes and pays, and gives the subscription's id.
    pub async fn become_pro(&self) -> String {
        let page = self.subscribe().await;
        self.pay(&page).await;
        self.subscription_of(&page).await
    }

    pub async fn subscription_of(&self, page: &Value) -> String {
        let id = page["session_id"].as_str().unwrap();
        let session = self
            .stack
            .get_stripe(&format!("/v1/checkout/sessions/{id}"))
            .await;
        session["subscription"].as_str().unwrap().to_owned()
    }

    /// The customer that the user is at Stripe.
    pub async fn customer(&self) -> String {
        let sql = format!(
            "select stripe_customer_id from subscriptions where user_id = '{}'",
            self.id
        );
        self.stack.value(&sql).await
    }

    /// How many customers and pages a user has at Stripe.
    pub async fn made(&self) -> (usize, usize) {
        let count = async |path: &str, member: &str, wanted: &Value| {
            let page = self.stack.get_stripe(path).await;
            let all = page["data"].as_array().unwrap().iter();
            all.filter(|object| object.pointer(member) == Some(wanted))
                .count()
        };
        let id = json!(self.id);
        let customers = count("/v1/customers?limit=100", "/metadata/user_id", &id).await;
        let pages = count(
            "/v1/checkout/sessions?limit=100",
            "/client_reference_id",
            &id,
        )
        .await;
        (customers, pages)
    }

    /// Opens a chatroom and gives its path.
    pub async fn room(&self) -> String {
        let request = self.request(Method::POST, "/chatroom");
        let answer = self.send(request.json(&json!({ "title": "Test" }))).await;
        assert_eq!(answer.status, 201);
        answer.headers["location"].to_str().unwrap().to_owned()
    }

    /// Posts a message.
    pub async fn post(&self, room: &str) -> Answer {
        let request = self.request(Method::POST, &format!("{room}/message"));
        self.send(request.json(&json!({ "content": "hello" })))
            .await
    }

    /// Waits until the status says so.
    pub async fn becomes(&self, plan: &str) -> Value {
        let start = Instant::now();
        loop {
            let status = self.status().await;
            if status["plan"] == plan {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "not {plan}: {status}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}
