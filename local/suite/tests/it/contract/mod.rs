//! Tests that routes, functions, sample events, `openapi.yaml` and `template.yaml` agree: nothing has one without the
//! others.
//!
//! Each stands where its reader looks for it, so something must hold them together. Real responses are held to the
//! contract by the tests that send requests.

mod checker;
mod events;
mod features;
mod template;
mod variables;
mod workspace;

use std::collections::{BTreeMap, BTreeSet};

use local_stack::lambda::functions::Trigger;
use local_suite::harness::contract::{CONTRACT, function, members};
use serde_json::Value;

use workspace::{Route, WORKSPACE, array};

const METHODS: [&str; 8] = ["delete", "get", "head", "options", "patch", "post", "put", "trace"];

/// Whether a function has an address of its own, which knows no routes.
fn has_address(function: &str) -> bool {
    let function = WORKSPACE.catalogue.get(function);
    function.is_ok_and(|function| function.trigger == Trigger::Address)
}

/// Lists the operations of the contract, each under its route.
fn operations() -> BTreeMap<Route, &'static Value> {
    let mut operations = BTreeMap::new();
    for (path, item) in members(&CONTRACT.document["paths"]) {
        for (method, operation) in members(item).filter(|(key, _)| METHODS.contains(&key.as_str())) {
            let route =
                Route { method: method.to_uppercase(), path: path.clone(), function: function(operation).to_owned() };
            operations.insert(route, operation);
        }
    }
    operations
}

#[test]
fn the_contract_has_an_operation_for_every_route_and_no_other() {
    let operations = operations().into_keys().collect::<BTreeSet<_>>();
    let unequal: Vec<_> = WORKSPACE.routes.symmetric_difference(&operations).collect();
    assert!(unequal.is_empty(), "only on one side: {unequal:#?}");
}

#[test]
fn every_function_is_a_crate_with_one_binary_of_the_same_name() {
    for (folder, binaries) in &WORKSPACE.functions {
        assert_eq!(binaries.iter().collect::<Vec<_>>(), [folder]);
    }
}

#[test]
fn every_function_has_one_route_unless_something_else_calls_it_or_it_has_an_address() {
    for (name, function) in WORKSPACE.catalogue.iter() {
        let routes = WORKSPACE.routes.iter().filter(|route| route.function == name);
        let expected = match function.trigger {
            Trigger::Request => 1,
            Trigger::Address => 2,
            Trigger::Queue | Trigger::Schedule | Trigger::Deploy => 0,
        };
        assert_eq!(routes.count(), expected, "{name}");
    }
}

#[test]
fn every_function_has_a_sample_event_and_every_event_a_function() {
    let functions = WORKSPACE.functions.keys().collect::<BTreeSet<_>>();
    let events = WORKSPACE.events.keys().collect();
    let unequal: Vec<_> = functions.symmetric_difference(&events).collect();
    assert!(unequal.is_empty(), "only on one side: {unequal:?}");
}

#[test]
fn every_component_of_the_contract_is_used() {
    let mut used = BTreeSet::new();
    visit(&CONTRACT.document, &mut |value| {
        used.extend(value.get("$ref").and_then(Value::as_str));
    });
    for (kind, components) in members(&CONTRACT.document["components"]) {
        for (name, _) in members(components).filter(|_| kind != "securitySchemes") {
            let reference = format!("#/components/{kind}/{name}");
            assert!(used.contains(reference.as_str()), "{reference} is not used");
        }
    }
    for reference in used {
        let target = CONTRACT.document.pointer(&reference[1..]);
        assert!(target.is_some(), "{reference} refers to nothing");
    }
}

#[test]
fn every_body_of_the_contract_has_examples_that_its_schema_allows() {
    let mut bodies = 0;
    visit(&CONTRACT.document, &mut |value| {
        for (_, media) in members(&value["content"]).filter(|(media_type, _)| media_type.contains('/')) {
            let named = members(&media["examples"]).map(|(_, example)| &example["value"]);
            let examples: Vec<_> = media.get("example").into_iter().chain(named).collect();
            assert!(!examples.is_empty(), "no example: {media:#}");
            for example in examples {
                let errors = CONTRACT.errors(&media["schema"], example);
                assert!(errors.is_empty(), "{example:#}: {errors:#?}");
            }
            bodies += 1;
        }
    });
    assert!(bodies > WORKSPACE.routes.len(), "the bodies were found");
}

#[test]
fn whatever_needs_a_token_documents_401_and_every_operation_its_failures() {
    let open = Value::Array(Vec::new());
    for (route, operation) in operations() {
        let documented = |status: &str| operation["responses"].get(status).is_some();
        assert!(documented("500") && documented("503"), "{route:?}");
        assert!(operation.get("security") == Some(&open) || documented("401"), "{route:?}");
        // A webhook's body is authenticated before it is looked at, and is as large as it is.
        let is_webhook = operation["tags"] == serde_json::json!(["webhook"]);
        if operation.get("requestBody").is_some() && !is_webhook {
            let all = ["400", "413", "415", "422"].into_iter().all(documented);
            assert!(all, "{route:?} takes a body");
        }
        for parameter in array(&operation["parameters"]) {
            let parameter = CONTRACT.resolve(parameter);
            let refused = if parameter["in"] == "query" && parameter["name"] != "cursor" { "422" } else { "400" };
            assert!(documented(refused), "{route:?} takes {}", parameter["name"]);
        }
        if route.path.contains('{') {
            assert!(documented("404"), "{route:?} names something");
        }
    }
}

/// Calls `look` with every value in `value`, itself included.
fn visit<'a>(value: &'a Value, look: &mut impl FnMut(&'a Value)) {
    look(value);
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| visit(element, look)),
        Value::Object(members) => members.values().for_each(|member| visit(member, look)),
        _ => {}
    }
}
