//! Makes the events that each function is asked with: its sample event with data that exist. What a request uses up is
//! there once for each.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use reqwest::{Client, header::CONTENT_TYPE};
use serde_json::{Value, json};
use shared::auth::{Caller, Password};

use super::{Process, Stock, stock::FEW_MESSAGES};
use crate::harness;
use local_stack::{
    lambda::{
        events::scheduled_event,
        functions::{Catalogue, Trigger},
    },
    settings::{STAND_IN_STRIPE_KEY, Variables},
};
use local_stand_ins::stripe;

const PASSWORD: &str = "correct horse battery";

/// Names the function that sends the codes which another one needs.
pub fn sender_of_codes(function: &str) -> Option<&'static str> {
    match function {
        "auth-verify-otp" => Some("auth-send-otp"),
        "auth-reset-password" => Some("auth-forgot-password"),
        _ => None,
    }
}

/// The events that a function is asked with.
pub enum Events {
    /// One for each request.
    Each(Vec<Value>),
    /// The function's sample event, again and again: more is not known of it. It may be refused.
    Sample(Value),
    /// None: the function cannot be asked on its own.
    None,
}

/// Makes events.
pub struct Cases {
    catalogue: Catalogue,
    /// What the events are about.
    pub stock: Stock,
    variables: Variables,
    count: AtomicU32,
}

impl Cases {
    /// Makes events about data.
    pub fn new(catalogue: Catalogue, stock: Stock, variables: Variables) -> Self {
        Self { catalogue, stock, variables, count: AtomicU32::default() }
    }

    /// Makes the events for so many requests. `codes` is the function that sends codes, where one is needed.
    pub async fn events(&self, function: &str, count: usize, codes: Option<&mut Process>) -> Result<Events> {
        let room = self.stock.room.to_string();
        let same = |event: Value| Ok(Events::Each(vec![event; count]));
        match function {
            "hello" => same(self.sample("user-get")),
            // It takes wake-ups for a minute.
            "message-drain" => Ok(Events::None),
            "user-get"
            | "user-update"
            | "session-list"
            | "chatroom-list"
            | "chatroom-create"
            | "chatroom-get"
            | "chatroom-update"
            | "message-get"
            | "message-send"
            | "subscription-status" => same(self.request(function, &room).await?),
            "message-answer" => self.each(count, async || self.wake_up(1).await).await,
            "message-stream" => self.each(count, async || self.stream().await).await,
            "chatroom-delete" => {
                let event = async || {
                    let room = self.stock.new_room().await?;
                    self.request(function, &room.to_string()).await
                };
                self.each(count, event).await
            }
            "subscription-checkout" | "subscription-portal" => {
                same(self.signed_in(function, self.customer().await?.0)?)
            }
            "stripe-webhook" => {
                let customer = self.customer().await?.1;
                self.each(count, async || Ok(self.stripe_event(&customer))).await
            }
            "auth-signup"
            | "auth-send-otp"
            | "auth-forgot-password"
            | "auth-verify-otp"
            | "auth-reset-password"
            | "auth-login"
            | "auth-refresh"
            | "auth-logout"
            | "auth-change-password"
            | "session-delete"
            | "user-delete" => self.of_new_users(function, count, codes).await,
            _ => Ok(match self.catalogue.get(function)?.trigger {
                Trigger::Request => Events::Sample(self.request(function, &room).await?),
                Trigger::Schedule => Events::Each(vec![scheduled_event(function); count]),
                // A custom resource has nothing to do after the first time.
                Trigger::Address | Trigger::Queue | Trigger::Deploy => Events::None,
            }),
        }
    }

    /// Makes events of a new user each: the request is limited, or ends the account or session.
    async fn of_new_users(&self, function: &str, count: usize, mut codes: Option<&mut Process>) -> Result<Events> {
        let password: Password = serde_json::from_value(PASSWORD.into())?;
        let hash = password.hash().map_err(|error| anyhow!("{error}"))?;
        let mut events = Vec::new();
        for _ in 0..count {
            let mobile = format!("+1666{:08}", self.next());
            if function == "auth-signup" {
                events.push(self.with_body(function, &json!({"mobile": mobile, "name": "Ada"})));
                continue;
            }
            let caller = self.stock.user(&mobile, Some(&hash)).await?;
            let sent = match (sender_of_codes(function), &mut codes) {
                (Some(sender), Some(process)) => {
                    let event = self.with_body(sender, &json!({ "mobile": mobile }));
                    let answer = process.invoke(&event).await?.body;
                    serde_json::from_str(answer["body"].as_str().unwrap_or_default())?
                }
                _ => Value::Null,
            };
            let mut proof = json!({
                "mobile": mobile, "challenge": sent["challenge"], "otp": sent["otp"],
            });
            events.push(match function {
                "user-delete" | "auth-logout" | "auth-change-password" => self.signed_in(function, caller)?,
                "session-delete" => {
                    let mut event = self.signed_in(function, caller)?;
                    event["pathParameters"]["id"] = json!(caller.session);
                    event
                }
                "auth-send-otp" | "auth-forgot-password" => self.with_body(function, &json!({ "mobile": mobile })),
                "auth-verify-otp" => self.with_body(function, &proof),
                "auth-reset-password" => {
                    proof["new_password"] = "staple the battery".into();
                    self.with_body(function, &proof)
                }
                "auth-login" => self.with_body(function, &json!({"mobile": mobile, "password": PASSWORD})),
                "auth-refresh" => {
                    let token = self.stock.refresh_token(caller).await?;
                    self.with_body(function, &json!({ "refresh_token": token }))
                }
                _ => bail!("the benchmark does not know what to ask {function} of a new user"),
            });
        }
        Ok(Events::Each(events))
    }

    async fn each(&self, count: usize, event: impl AsyncFn() -> Result<Value>) -> Result<Events> {
        let mut events = Vec::new();
        for _ in 0..count {
            events.push(event().await?);
        }
        Ok(Events::Each(events))
    }

    /// Reads a function's sample and gives it an address of its own.
    fn sample(&self, function: &str) -> Value {
        let mut event = harness::sample(function);
        let [_, a, b, c] = self.next().to_be_bytes();
        event["requestContext"]["http"]["sourceIp"] = format!("10.{a}.{b}.{c}").into();
        event
    }

    /// Makes a function's sample a request of a user.
    fn signed_in(&self, function: &str, caller: Caller) -> Result<Value> {
        let mut event = self.sample(function);
        event["headers"]["authorization"] = self.stock.authorization(caller)?.into();
        Ok(event)
    }

    /// Makes a function's sample a request of a room's owner that can be repeated, about the room and its newest
    /// message where the sample names them. What it lists of a room is a page that the smallest room fills.
    async fn request(&self, function: &str, room: &str) -> Result<Value> {
        let mut event = self.sample(function);
        if event["headers"]["authorization"].is_string() {
            event = self.signed_in(function, self.stock.owner)?;
        }
        if let Some(headers) = event["headers"].as_object_mut() {
            headers.remove("idempotency-key");
        }
        if event["pathParameters"]["id"].is_string() {
            event["pathParameters"]["id"] = room.into();
            if event["queryStringParameters"]["limit"].is_string() {
                event["queryStringParameters"]["limit"] = FEW_MESSAGES.to_string().into();
                event["rawQueryString"] = format!("limit={FEW_MESSAGES}").into();
            }
        }
        // A function URL knows no routes, so its path has to name the room.
        if event["routeKey"] == "$default" {
            let path = format!("/chatroom/{room}/stream");
            event["requestContext"]["http"]["path"] = path.clone().into();
            event["rawPath"] = path.into();
        }
        if event["pathParameters"]["message_id"].is_string() {
            let newest = self.stock.newest(room.parse()?).await?;
            event["pathParameters"]["message_id"] = newest.to_string().into();
        }
        Ok(event)
    }

    /// Makes a post that is answered in place, in a new room with ten settled messages.
    pub async fn stream(&self) -> Result<Value> {
        let room = self.stock.new_room().await?;
        self.request("message-stream", &room.to_string()).await
    }

    /// Makes a batch of wake-ups for new rooms, each with ten settled messages and one that waits.
    pub async fn wake_up(&self, rooms: usize) -> Result<Value> {
        let mut records = Vec::new();
        for _ in 0..rooms {
            let room = self.stock.new_room().await?;
            self.stock.queue(room).await?;
            records.push(self.record(&room.to_string()));
        }
        Ok(json!({ "Records": records }))
    }

    /// Makes a queue message that wakes a room.
    fn record(&self, room: &str) -> Value {
        let mut record = self.sample("message-answer")["Records"][0].take();
        record["messageId"] = self.next().to_string().into();
        let owner = self.stock.owner.user;
        record["body"] = json!({ "user_id": owner, "chatroom_id": room }).to_string().into();
        record
    }

    fn with_body(&self, function: &str, body: &Value) -> Value {
        let mut event = self.sample(function);
        event["body"] = body.to_string().into();
        event
    }

    /// Makes a user who is a customer of Stripe's, and returns both ids.
    async fn customer(&self) -> Result<(Caller, String)> {
        let mobile = format!("+1777{:08}", self.next());
        let caller = self.stock.user(&mobile, None).await?;
        let customer = self.stripe("/v1/customers", String::new()).await?;
        let customer = customer["id"].as_str().context("no customer")?.to_owned();
        self.stock.customer(caller.user, &customer).await?;
        Ok((caller, customer))
    }

    /// Makes a signed event about a changed subscription.
    fn stripe_event(&self, customer: &str) -> Value {
        let body = json!({
            "id": format!("evt_{}", self.next()), "object": "event", "type": "customer.subscription.updated",
            "data": {"object": {"id": "sub_1", "object": "subscription", "customer": customer}},
        });
        let mut event = self.with_body("stripe-webhook", &body);
        let secrets = &self.variables["STRIPE_WEBHOOK_SECRET"];
        let signature = stripe::signature(secrets, &body.to_string());
        event["headers"]["stripe-signature"] = signature.into();
        event
    }

    async fn stripe(&self, path: &str, form: String) -> Result<Value> {
        let client: Client = local_stack::machine::http::client()?;
        let url = format!("{}{path}", self.variables["STRIPE_URL"]);
        let request = client.post(url).bearer_auth(STAND_IN_STRIPE_KEY);
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = request.body(form).send().await?.error_for_status()?;
        Ok(answer.json().await?)
    }

    /// Counts up.
    fn next(&self) -> u32 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }
}
