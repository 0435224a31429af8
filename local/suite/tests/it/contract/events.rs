//! Tests that the sample events are what AWS sends and what the contract allows.

use aws_lambda_events::{
    apigw::ApiGatewayV2httpRequest, cloudformation::CloudFormationCustomResourceRequest, sqs::SqsEvent,
};
use local_stack::lambda::{events::scheduled_event, functions::Trigger};
use local_suite::harness::contract::{CONTRACT, matches, members, typed};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use shared::queue::WakeUp;

use super::{
    has_address, operations,
    workspace::{Route, WORKSPACE, array, text},
};

/// The place for a real token in a sample event.
const PLACEHOLDER: &str = "Bearer PUT-A-REAL-ACCESS-TOKEN-HERE";

/// Reads an event as AWS's type, which must know every member.
fn event<T: DeserializeOwned + Serialize>(function: &str) -> T {
    let event = &WORKSPACE.events[function];
    let typed: T =
        serde_json::from_value(event.clone()).unwrap_or_else(|error| panic!("events/{function}.json: {error}"));
    let known = serde_json::to_value(&typed).expect("an event is JSON");
    assert_eq!(unknown(event, &known), [""; 0], "events/{function}.json");
    typed
}

/// Returns the names in `value` that are not in `known`.
fn unknown(value: &Value, known: &Value) -> Vec<String> {
    let mut names = Vec::new();
    for (name, member) in members(value) {
        match known.get(name) {
            Some(known) => names.extend(unknown(member, known)),
            None => names.push(name.clone()),
        }
    }
    for (element, known) in array(value).iter().zip(array(known)) {
        names.extend(unknown(element, known));
    }
    names
}

/// Whether there is a sample event. Another test says when there is none.
fn has_event(function: &str) -> bool {
    WORKSPACE.events.contains_key(function)
}

#[test]
fn an_endpoints_event_is_a_request_to_its_route() {
    for route in WORKSPACE.routes.iter().filter(|route| has_event(&route.function)) {
        let Route { method, path, function } = route;
        let event: ApiGatewayV2httpRequest = event(function);
        let context = event.request_context;
        let has_address = has_address(function);
        let routes = WORKSPACE.routes.iter().filter(|route| route.function == *function);
        if context.http.method.as_str() != method && routes.count() > 1 {
            continue; // one of its routes has the event
        }
        let key = if has_address { "$default".to_owned() } else { format!("{method} {path}") };
        assert_eq!(event.version.as_deref(), Some("2.0"), "{key}");
        assert_eq!(event.route_key.as_ref(), Some(&key));
        assert_eq!(context.route_key.as_ref(), Some(&key));
        assert_eq!(context.http.method.as_str(), method, "{key}");
        assert!(context.http.source_ip.is_some(), "{key}: the client's address");

        let raw_path = event.raw_path.expect("rawPath");
        assert_eq!(context.http.path.as_ref(), Some(&raw_path), "{key}");
        assert!(matches(path, &raw_path), "{key}: {raw_path}");
        let mut filled = path.clone();
        for (name, value) in &event.path_parameters {
            filled = filled.replace(&format!("{{{name}}}"), value);
        }
        let filled = if has_address { &raw_path } else { &filled };
        assert_eq!(*filled, raw_path, "{key}: pathParameters");

        let query = &WORKSPACE.events[function]["queryStringParameters"];
        let query = members(query).map(|(name, value)| format!("{name}={}", text(value)));
        let raw_query = event.raw_query_string.unwrap_or_default();
        assert_eq!(query.collect::<Vec<_>>().join("&"), raw_query, "{key}");

        let body = event.body.unwrap_or_default();
        let length = event.headers["content-length"].to_str().expect("a number");
        assert_eq!(length, body.len().to_string(), "{key}");
        assert!(!event.is_base64_encoded, "{key}: its body is text");
    }
}

#[test]
fn an_endpoints_event_is_a_request_that_the_contract_allows() {
    for (route, operation) in operations().into_iter().filter(|(route, _)| has_event(&route.function)) {
        let event = &WORKSPACE.events[&route.function];
        if event["requestContext"]["http"]["method"] != route.method {
            continue; // the function has another operation too, whose event it is
        }
        let mut errors = body_errors(event, &operation["requestBody"]);
        let item = &CONTRACT.document["paths"][&route.path];
        let parameters = array(&operation["parameters"]).iter().chain(array(&item["parameters"]));
        let parameters: Vec<_> = parameters.map(|it| CONTRACT.resolve(it)).collect();
        for parameter in &parameters {
            let name = text(&parameter["name"]);
            let value = match parameter["in"].as_str() {
                Some("path") if has_address(&route.function) => {
                    continue; // it parses the path itself
                }
                Some("path") => &event["pathParameters"][&name],
                Some("query") => &event["queryStringParameters"][&name],
                _ => &event["headers"][name.to_lowercase()],
            };
            if let Some(value) = value.as_str() {
                errors.extend(CONTRACT.errors(&parameter["schema"], &typed(&parameter["schema"], value)));
            } else if parameter["required"] == true {
                errors.push(format!("{name} is missing"));
            }
        }
        for (name, _) in members(&event["queryStringParameters"]) {
            if !parameters.iter().any(|parameter| parameter["name"] == **name) {
                errors.push(format!("{name} is not documented"));
            }
        }
        assert!(errors.is_empty(), "events/{}.json: {errors:#?}", route.function);
    }
}

fn body_errors(event: &Value, expected: &Value) -> Vec<String> {
    let Some(body) = event["body"].as_str() else {
        let missing = expected["required"] == true;
        return missing.then(|| "there is no body".to_owned()).into_iter().collect();
    };
    let media_type = text(&event["headers"]["content-type"]);
    let schema = &expected["content"][&media_type]["schema"];
    assert!(!schema.is_null(), "no body of type {media_type} is documented");
    let body = serde_json::from_str(body).expect("the body is JSON");
    CONTRACT.errors(schema, &body)
}

#[test]
fn an_event_carries_the_placeholder_of_a_token_exactly_where_one_is_needed() {
    for (route, operation) in operations().into_iter().filter(|(route, _)| has_event(&route.function)) {
        let found = &WORKSPACE.events[&route.function]["headers"]["authorization"];
        let expected = match operation.get("security") {
            Some(_) => json!(null),
            None => json!(PLACEHOLDER),
        };
        assert_eq!(*found, expected, "events/{}.json", route.function);
    }
}

#[test]
fn the_event_of_a_function_without_a_route_is_what_calls_it() {
    for (name, function) in WORKSPACE.catalogue.iter().filter(|(name, _)| has_event(name)) {
        match function.trigger {
            Trigger::Request | Trigger::Address => {}
            Trigger::Queue => wake_ups(&event(name)),
            Trigger::Deploy => {
                let event: CloudFormationCustomResourceRequest = event(name);
                let create = matches!(event, CloudFormationCustomResourceRequest::Create(_));
                assert!(create, "events/{name}.json");
            }
            Trigger::Schedule => {
                let (event, sent) = (&WORKSPACE.events[name], scheduled_event(name));
                assert_eq!(unknown(event, &sent), [""; 0], "events/{name}.json");
                assert_eq!(event["detail-type"], "Scheduled Event", "events/{name}.json");
            }
        }
    }
}

fn wake_ups(batch: &SqsEvent) {
    assert!(batch.records.len() > 1, "a batch, to show more than one");
    for record in &batch.records {
        let body = record.body.as_deref().expect("a body");
        let wake_up: WakeUp = serde_json::from_str(body).expect("a wake-up");
        assert_eq!(serde_json::to_string(&wake_up).expect("JSON"), body);
        assert_eq!(record.event_source.as_deref(), Some("aws:sqs"));
        assert!(record.message_id.is_some() && record.receipt_handle.is_some());
        assert!(record.attributes.contains_key("MessageGroupId"), "the user: fair queueing");
    }
}
