//! The running system that the tests share, and how they talk to it.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use local::{
    harness::contract::{Answer, Contract, members},
    services::Services,
    settings::Settings,
    system::System,
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// A running system, with somebody who is signed in.
pub struct Stack {
    runtime: Runtime,
    pub system: System,
    pub contract: Contract,
    pub user: User,
}

/// Somebody who is signed in, with a chatroom.
pub struct User {
    pub mobile: String,
    pub token: String,
    pub room: String,
}

/// An operation of the contract, at an address that exists.
pub struct Endpoint {
    pub function: &'static str,
    pub method: Method,
    pub path: String,
    pub needs_token: bool,
    /// The schema and an example of the JSON that it takes.
    pub body: Option<(&'static Value, &'static Value)>,
}

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// It lives as long as this process.
static STACK: LazyLock<Stack> = LazyLock::new(|| {
    let runtime = Runtime::new().expect("there are threads");
    let (system, contract, user) = runtime
        .block_on(async {
            let services = Services::from_env()?;
            let settings = Settings::default().with("BASIC_DAILY_MESSAGES", 1_000);
            let system = System::start(&services, settings).await?;
            let contract = Contract::load()?;
            let user = sign_up(&system, &contract).await;
            anyhow::Ok((system, contract, user))
        })
        .expect("the system starts");
    Stack {
        runtime,
        system,
        contract,
        user,
    }
});

/// Runs a test against the system.
pub fn run<T>(test: impl AsyncFnOnce(&'static Stack) -> T) -> T {
    let stack = &*STACK;
    stack.runtime.block_on(test(stack))
}

/// A number that nobody used before.
pub fn new_mobile() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("+1555{:07}", COUNT.fetch_add(1, Ordering::Relaxed))
}

async fn sign_up(system: &System, contract: &Contract) -> User {
    let post = async |path, token: &str, body: Value| {
        let request = system.client().post(system.url(path)).bearer_auth(token);
        let answer = contract.send(request.json(&body)).await.expect("an answer");
        answer.body
    };
    let mobile = new_mobile();
    let code = post("/auth/signup", "", json!({ "mobile": mobile })).await;
    let proof = json!({ "mobile": mobile, "otp": code["otp"] });
    let session = post("/auth/verify-otp", "", proof).await;
    let token = text(&session["access_token"]);
    let room = post("/chatroom", &token, json!({ "title": "Trip to Lisbon" })).await;
    User {
        mobile,
        room: text(&room["id"]),
        token,
    }
}

impl Stack {
    /// Somebody new.
    pub async fn new_user(&self) -> User {
        sign_up(&self.system, &self.contract).await
    }

    /// A request, to which a test adds what it is about.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.system.client().request(method, self.system.url(path));
        request.timeout(PATIENCE)
    }

    /// The answer to a request; it is what the contract allows.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        self.contract.send(request).await.expect("an answer")
    }

    /// The answer to a request of the user's.
    pub async fn get(&self, path: &str) -> Answer {
        let request = self.request(Method::GET, path);
        self.send(request.bearer_auth(&self.user.token)).await
    }

    /// The answer to JSON that the user posts.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, path).json(body);
        self.send(request.bearer_auth(&self.user.token)).await
    }

    /// Every operation of the contract.
    pub fn endpoints(&'static self) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        for (path, item) in members(&self.contract.document["paths"]) {
            let path = path
                .replace("{id}", &self.user.room)
                .replace("{message_id}", "019b0000-0000-7000-8000-000000000003");
            for (method, operation) in members(item).filter(|(key, _)| *key != "parameters") {
                let media = &operation["requestBody"]["content"]["application/json"];
                let schema = self.contract.resolve(&media["schema"]);
                // An open schema is somebody else's, whose event is taken as it comes.
                let is_ours = schema["additionalProperties"] == false;
                endpoints.push(Endpoint {
                    function: operation["operationId"].as_str().expect("a function"),
                    method: method.to_uppercase().parse().expect("a method"),
                    path: path.clone(),
                    needs_token: operation.get("security").is_none(),
                    body: is_ours.then_some((schema, &media["example"])),
                });
            }
        }
        endpoints
    }

    /// Every operation that takes JSON of ours, with the JSON's schema and an example.
    pub fn json_endpoints(&'static self) -> Vec<(Endpoint, &'static Value, &'static Value)> {
        let endpoints = self.endpoints().into_iter();
        let endpoints: Vec<_> = endpoints
            .filter_map(|endpoint| {
                endpoint
                    .body
                    .map(|(schema, example)| (endpoint, schema, example))
            })
            .collect();
        assert!(endpoints.len() >= 12, "the endpoints were found");
        endpoints
    }

    /// The answer to a body that the user sends to an endpoint.
    pub async fn send_body(&self, endpoint: &Endpoint, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(endpoint.method.clone(), &endpoint.path);
        let request = request.bearer_auth(&self.user.token);
        let request = request.header("content-type", "application/json");
        self.send(request.body(body)).await
    }
}

/// Status and problem type.
pub fn problem(answer: &Answer) -> (u16, &str) {
    let kind = answer.body["type"].as_str().unwrap_or_default();
    (answer.status, kind.trim_start_matches("/problems/"))
}

/// The fields that a 422 names, each once.
pub fn fields(answer: &Answer) -> Vec<&str> {
    let errors = answer.body["errors"].as_array();
    let errors = errors.into_iter().flatten();
    let mut fields: Vec<_> = errors.filter_map(|error| error["field"].as_str()).collect();
    fields.dedup();
    fields
}

/// A string, which must be one.
pub fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

pub const MALFORMED: (u16, &str) = (400, "malformed");
pub const INVALID: (u16, &str) = (422, "invalid");
