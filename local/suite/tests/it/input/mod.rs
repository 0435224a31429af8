//! Tests that any input gets a documented response, and never a 500.
//!
//! Every response is held to `openapi.yaml`, and where a rule says "every endpoint", the endpoints are those of
//! `openapi.yaml`, so a new one is covered from its first day.

mod bodies;
mod fields;
mod queries;
mod random;
mod samples;
mod secrets;
mod variables;

use local_suite::harness::{
    Response, Stack, User,
    contract::{CONTRACT, function, members},
};
use reqwest::{Body, Method};
use serde_json::Value;

on_every_kind!(
    random::requests_that_are_wrong_at_random_are_never_a_fault_of_ours,
    samples::a_sample_is_answered_as_documented_with_its_placeholder_and_with_a_real_token,
    samples::a_sample_without_a_route_is_understood,
    secrets::what_is_typed_into_a_wrong_place_is_never_logged,
    variables::a_function_does_not_start_without_its_secrets_and_needs_no_others,
);

on!(sqs:
    bodies::what_is_not_json_is_malformed_at_every_endpoint,
    bodies::an_empty_body_is_malformed_unless_none_is_required,
    bodies::json_that_is_no_object_is_invalid_at_every_endpoint,
    bodies::a_field_that_is_unknown_missing_or_given_twice_is_named,
    bodies::nesting_and_numbers_of_any_size_are_refused,
    bodies::a_body_may_have_64_kib_and_not_a_byte_more,
    bodies::a_body_must_be_declared_to_be_json,
    bodies::json_is_declared_in_any_case_and_with_any_parameters,
    bodies::bytes_that_are_no_text_are_malformed,
    queries::a_page_has_1_to_100_items,
    queries::an_order_is_asc_or_desc,
    queries::an_unknown_query_parameter_is_refused_at_every_endpoint_and_named,
    queries::a_wait_has_0_to_20_seconds,
    queries::a_cursor_works_for_the_list_that_gave_it_and_no_other,
    queries::an_idempotency_key_has_1_to_255_visible_characters,
    secrets::a_new_password_has_8_to_128_characters_and_is_not_a_common_one,
);

on!(redis:
    fields::a_value_of_another_type_is_refused_with_the_field_named,
    fields::what_is_no_mobile_number_is_refused_wherever_one_is_asked_for,
    fields::what_is_no_code_of_six_digits_is_refused_wherever_one_is_asked_for,
    fields::a_title_has_1_to_100_characters_of_any_script_and_is_not_blank,
    fields::every_wrong_field_of_a_body_is_named_at_once,
    fields::a_message_has_1_to_16000_characters_of_any_script,
    fields::a_name_has_1_to_100_characters_and_an_address_an_at_sign,
    secrets::a_refresh_token_of_any_form_is_refused_alike,
    variables::a_malformed_variable_is_named_and_a_secret_in_it_is_not_shown,
    variables::codes_are_shown_in_responses_at_the_stages_local_and_demo_only,
);

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
        let mut endpoints = Vec::new();
        for (path, item) in members(&CONTRACT.document["paths"]) {
            let path = path
                .replace("/chatroom/{id}", &self.room)
                .replace("{message_id}", "019b0000-0000-7000-8000-000000000003");
            for (method, operation) in members(item).filter(|(key, _)| *key != "parameters") {
                let media = &operation["requestBody"]["content"]["application/json"];
                let schema = CONTRACT.resolve(&media["schema"]);
                // An open schema is somebody else's, whose event is taken as it comes.
                let is_ours = schema["additionalProperties"] == false;
                endpoints.push(Endpoint {
                    function: function(operation),
                    method: method.to_uppercase().parse().expect("a method"),
                    path: path.clone(),
                    needs_token: operation.get("security").is_none(),
                    needs_body: operation["requestBody"]["required"] == true,
                    body: is_ours.then_some((schema, &media["example"])),
                });
            }
        }
        endpoints
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
