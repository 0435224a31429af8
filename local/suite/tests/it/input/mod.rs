//! Tests that any input gets a documented response, and never a 500.
//!
//! Every response is held to `openapi.yaml`, and where a rule says "every endpoint", the endpoints are those of
//! `openapi.yaml`, so a new one is covered from its first day.

mod bodies;
mod fields;
mod queries;
mod samples;
mod secrets;
mod variables;

use local_suite::harness::{
    Response, Stack, User,
    contract::{CONTRACT, Operation, operations},
};
use reqwest::{Body, Method};
use serde_json::Value;

pub const MALFORMED: (u16, &str) = (400, "malformed");
pub const INVALID: (u16, &str) = (422, "invalid");

/// A user with a chatroom, who sends whatever a rule makes up.
pub struct Sender<'a> {
    pub stack: &'a Stack,
    pub user: User<'a>,
    /// The chatroom's path.
    pub room: String,
}

/// An operation of the contract, at an address that exists.
pub struct Endpoint {
    pub function: &'static str,
    pub method: Method,
    pub path: String,
    pub needs_token: bool,
    pub needs_body: bool,
    /// The schema and an example of the JSON that it takes.
    pub body: Option<(&'static Value, &'static Value)>,
}

impl<'a> Sender<'a> {
    /// Signs a new user up.
    pub async fn new(stack: &'a Stack) -> Self {
        let user = stack.user().await;
        let room = user.room_named("Trip to Lisbon").await;
        Self { stack, user, room }
    }

    /// Lists every operation of the contract, about the sender's chatroom.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let endpoint = |Operation { method, path, function, content }: Operation| {
            let media = &content["requestBody"]["content"]["application/json"];
            let schema = CONTRACT.resolve(&media["schema"]);
            // An open schema is somebody else's, whose event is taken as it comes.
            let is_ours = schema["additionalProperties"] == false;
            let path = path
                .replace("/chatroom/{id}", &self.room)
                .replace("/sessions/{id}", "/sessions/019b0000-0000-7000-8000-000000000005");
            Endpoint {
                function,
                method,
                path: path.replace("{message_id}", "019b0000-0000-7000-8000-000000000003"),
                needs_token: content.get("security").is_none(),
                needs_body: content["requestBody"]["required"] == true,
                body: is_ours.then_some((schema, &media["example"])),
            }
        };
        operations().map(endpoint).collect()
    }

    /// Lists every operation that takes JSON of ours, with the JSON's schema and an example.
    pub fn json_endpoints(&self) -> Vec<(Endpoint, &'static Value, &'static Value)> {
        let endpoints = self.endpoints().into_iter();
        let with_body = |endpoint: Endpoint| {
            let (schema, example) = endpoint.body?;
            Some((endpoint, schema, example))
        };
        let endpoints: Vec<_> = endpoints.filter_map(with_body).collect();
        assert!(endpoints.len() >= 12, "the endpoints were found");
        endpoints
    }

    /// Sends a body to an endpoint.
    pub async fn send_body(&self, endpoint: &Endpoint, body: impl Into<Body>) -> Response {
        let request = self.user.request(endpoint.method.clone(), &endpoint.path);
        let request = request.header("content-type", "application/json");
        self.user.send(request.body(body)).await
    }

    /// Posts JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Response {
        self.user.json(Method::POST, path, body).await
    }
}

/// Returns the fields that a 422 names, each once.
pub fn fields(response: &Response) -> Vec<&str> {
    let errors = response.body["errors"].as_array().into_iter().flatten();
    let mut fields: Vec<_> = errors.filter_map(|error| error["field"].as_str()).collect();
    fields.dedup();
    fields
}
