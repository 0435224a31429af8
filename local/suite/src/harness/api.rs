//! Calls a running API as its clients do, and reaches the database and the stand-ins behind it.

use std::sync::atomic::{AtomicU32, Ordering};

use reqwest::{Client, Method, RequestBuilder, Url, header::HeaderMap};
use serde_json::{Value, json};
use tokio_postgres::types::FromSqlOwned;

use super::{PATIENCE, User, must, until};
use local_stack::{services::postgres::connect, settings::STAND_IN_STRIPE_KEY, system::System};

/// Holds the response to a request with this method and path to a contract, and panics when it breaks it.
pub type Check = fn(method: &Method, path: &str, response: &Response);

/// A response over HTTP.
#[derive(Debug)]
pub struct Response {
    /// The address of its request.
    pub url: Url,
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, or null when that is not JSON.
    pub body: Value,
    /// Its body as it came.
    pub bytes: Vec<u8>,
}

impl Response {
    /// Expects a status and returns the body.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    /// Returns a header, which must be there.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_else(|| panic!("no header {name}: {self:?}"))
    }

    /// Returns the path that the header `Location` refers to, from the request's address, as a client reads it.
    pub fn location(&self) -> String {
        must(self.url.join(self.header("location")), "a location").path().to_owned()
    }

    /// Returns the status and the problem type.
    pub fn problem(&self) -> (u16, &str) {
        let kind = self.body["type"].as_str().unwrap_or_default();
        (self.status, kind.trim_start_matches("/problems/"))
    }
}

/// A one-time code, and what it must be sent back with.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The challenge of the response.
    pub challenge: String,
    /// The six digits, from where codes arrive.
    pub code: String,
}

impl Sent {
    /// The same with other digits.
    #[must_use]
    pub fn wrong(&self) -> Self {
        let code = self.code.parse::<u32>().unwrap_or_default();
        Self { code: format!("{:06}", (code + 1) % 1_000_000), ..self.clone() }
    }

    /// A request with a code for a number, and what else belongs to it.
    pub fn proof(&self, mobile: &str) -> Value {
        json!({ "mobile": mobile, "challenge": self.challenge, "otp": self.code })
    }
}

/// Where one-time codes arrive.
#[derive(Debug, Clone)]
pub enum Codes {
    /// In the response to the request for one.
    InResponse,
    /// By SMS, which `MiniStack` at this endpoint keeps.
    BySms(String),
}

/// A running API and the addresses of what stands behind it.
#[derive(Clone)]
pub struct Api {
    /// What a path is appended to.
    pub url: String,
    /// A client for it.
    pub client: Client,
    /// Its Postgres database.
    pub database_url: String,
    /// The Gemini stand-in, if it asks that one.
    pub gemini_url: Option<String>,
    /// The Stripe stand-in, if it asks that one.
    pub stripe_url: Option<String>,
    /// Where its users get their codes from.
    pub codes: Codes,
    /// What every response is held to.
    pub check: Check,
}

impl Api {
    /// Reaches the API of a system on this machine, without holding its responses to a contract.
    #[must_use]
    pub fn of(system: &System) -> Self {
        Self {
            url: system.url(""),
            client: system.client().clone(),
            database_url: system.variables()["DATABASE_URL"].clone(),
            gemini_url: system.gemini_url().map(str::to_owned).ok(),
            stripe_url: system.stripe_url().map(str::to_owned).ok(),
            codes: Codes::InResponse,
            check: |_, _, _| {},
        }
    }

    /// Begins a request without a token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        request.timeout(PATIENCE)
    }

    /// Sends a request and holds its response to the contract.
    pub async fn send(&self, request: RequestBuilder) -> Response {
        let (client, request) = request.build_split();
        let request = must(request, "the request is wrong");
        let (method, url) = (request.method().clone(), request.url().clone());
        let path = url.path().to_owned();
        let what = format!("no response to {method} {path}");
        let response = must(client.execute(request).await, &what);
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes: Vec<u8> = must(response.bytes().await, &what).into();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        let response = Response { url, status, headers, body, bytes };
        (self.check)(&method, &path, &response);
        response
    }

    /// Posts JSON without a token.
    pub async fn post(&self, path: &str, body: &Value) -> Response {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// Makes up a mobile number that nobody used before.
    pub fn mobile(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        format!("+1555{:07}", COUNT.fetch_add(1, Ordering::Relaxed))
    }

    /// Signs a number up and returns its code.
    pub async fn code(&self, mobile: &str) -> Sent {
        self.code_of("/auth/signup", &json!({ "mobile": mobile, "name": "Ada" })).await
    }

    /// Asks for a code and returns it.
    pub async fn code_of(&self, path: &str, request: &Value) -> Sent {
        let accepted = self.post(path, request).await.expect(202);
        self.received(text(&request["mobile"]), &accepted).await
    }

    /// Receives the code that a response promised.
    pub async fn received(&self, mobile: &str, accepted: &Value) -> Sent {
        let code = if matches!(self.codes, Codes::InResponse) {
            text(&accepted["otp"]).to_owned()
        } else {
            self.received_by_sms(mobile).await
        };
        Sent { challenge: text(&accepted["challenge"]).to_owned(), code }
    }

    async fn received_by_sms(&self, mobile: &str) -> String {
        let messages = self.sms(mobile).await;
        let newest = messages.last().map(|message| text(&message["Message"]));
        let newest = newest.unwrap_or_else(|| panic!("{mobile} got no SMS"));
        newest.chars().filter(char::is_ascii_digit).take(6).collect()
    }

    /// Returns the text messages that a number got, oldest first.
    pub async fn sms(&self, mobile: &str) -> Vec<Value> {
        let Codes::BySms(endpoint) = &self.codes else {
            panic!("codes are in the responses here");
        };
        let all = self.client.get(format!("{endpoint}/_ministack/sns/sms-messages"));
        let all = must(all.send().await, "MiniStack does not answer");
        let all: Value = must(all.json().await, "MiniStack answers no JSON");
        let messages = all["sms_messages"][mobile].as_array();
        messages.cloned().unwrap_or_default()
    }

    /// Tries to sign in with a code.
    pub async fn verify(&self, mobile: &str, sent: &Sent) -> Response {
        self.post("/auth/verify-otp", &sent.proof(mobile)).await
    }

    /// Tries to set a new password with a code.
    pub async fn reset(&self, mobile: &str, sent: &Sent, password: &str) -> Response {
        let mut reset = sent.proof(mobile);
        reset["new_password"] = password.into();
        self.post("/auth/reset-password", &reset).await
    }

    /// Tries to sign in with a password.
    pub async fn log_in(&self, mobile: &str, password: &str) -> Response {
        let login = json!({ "mobile": mobile, "password": password });
        self.post("/auth/login", &login).await
    }

    /// Tries to get new tokens.
    pub async fn refresh(&self, token: &str) -> Response {
        let refresh = json!({ "refresh_token": token });
        self.post("/auth/refresh", &refresh).await
    }

    /// Signs somebody new up.
    pub async fn user(&self) -> User<'_> {
        User::sign_up(self, &self.mobile()).await
    }

    /// Opens a connection to the database.
    pub async fn database(&self) -> tokio_postgres::Client {
        must(connect(&self.database_url).await, "no database")
    }

    /// Returns the only value of the only row of a query.
    pub async fn value<T: FromSqlOwned>(&self, sql: &str) -> T {
        must(self.database().await.query_one(sql, &[]).await, sql).get(0)
    }

    /// Counts the rows of what follows `from` in a statement.
    pub async fn count(&self, from: &str) -> i64 {
        self.value(&format!("select count(*) from {from}")).await
    }

    /// Executes statements.
    pub async fn execute(&self, sql: &str) {
        must(self.database().await.batch_execute(sql).await, sql);
    }

    /// Scripts the outcomes of the next calls of Gemini.
    pub async fn script(&self, outcomes: &Value) {
        let script = self.client.post(format!("{}/_script", self.gemini()));
        let response = must(script.json(outcomes).send().await, "Gemini's script");
        assert!(response.status().is_success(), "{response:?}: {outcomes}");
    }

    /// Returns Gemini's calls for prompts that contain `part`: each call's turns as texts.
    pub async fn calls(&self, part: &str) -> Vec<Vec<String>> {
        let calls = self.client.get(format!("{}/_calls", self.gemini()));
        let calls = must(calls.send().await, "Gemini's calls");
        let calls: Vec<Value> = must(calls.json().await, "Gemini's calls");
        let turns = |call: &Value| -> Vec<String> {
            let turns = call["contents"].as_array().into_iter().flatten();
            turns.map(|turn| text(&turn["parts"][0]["text"]).to_owned()).collect()
        };
        let calls = calls.iter().map(turns);
        calls.filter(|turns| turns.last().is_some_and(|prompt| prompt.contains(part))).collect()
    }

    /// Waits until Gemini was called for a prompt that contains `part`.
    pub async fn called(&self, part: &str) {
        let what = format!("Gemini is asked {part:?}");
        until(&what, async || !self.calls(part).await.is_empty()).await;
    }

    fn gemini(&self) -> &str {
        let url = self.gemini_url.as_deref();
        url.unwrap_or_else(|| panic!("the real Gemini takes no scripts"))
    }

    /// Begins a request to Stripe with the key of its API, or to the stand-in's controls.
    pub fn stripe(&self, method: Method, path: &str) -> RequestBuilder {
        let url = self.stripe_url.as_deref();
        let url = url.unwrap_or_else(|| panic!("the real Stripe has no controls"));
        let request = self.client.request(method, format!("{url}{path}"));
        request.bearer_auth(STAND_IN_STRIPE_KEY)
    }

    /// Sends a request to Stripe, which must succeed.
    pub async fn ask_stripe(&self, request: RequestBuilder) -> Value {
        let response = must(request.send().await, "Stripe does not answer");
        let status = response.status();
        let text = must(response.text().await, "Stripe does not answer");
        assert!(status.is_success(), "{status}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Reads an object of Stripe's.
    pub async fn get_stripe(&self, path: &str) -> Value {
        self.ask_stripe(self.stripe(Method::GET, path)).await
    }

    /// Posts JSON to the stand-in's controls.
    pub async fn post_stripe(&self, path: &str, body: Value) -> Value {
        let request = self.stripe(Method::POST, path);
        self.ask_stripe(request.json(&body)).await
    }
}

/// Reads a value that must be a string.
#[track_caller]
pub fn text(value: &Value) -> &str {
    let text = value.as_str();
    text.unwrap_or_else(|| panic!("{value} is no string"))
}
