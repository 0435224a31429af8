//! Tests that routes, functions, sample events, `openapi.yaml` and `template.yaml` agree: nothing has one without the
//! others.
//!
//! Each stands where its reader looks for it, so something must hold them together. Real responses are held to the
//! contract by the tests that send requests.

mod checker;
mod environment;
mod events;
mod features;
mod generators;
mod limits;
pub mod template;
mod variables;
mod workspace;

use std::collections::{BTreeMap, BTreeSet};

use local_stack::lambda::functions::Trigger;
use local_suite::harness::contract::{self, CONTRACT, Operation, members};
use serde_json::Value;

use workspace::{Route, WORKSPACE, array};

/// Whether a function has an address of its own, which knows no routes.
fn has_address(function: &str) -> bool {
    let function = WORKSPACE.catalogue.get(function);
    function.is_ok_and(|function| function.trigger == Trigger::Address)
}

/// Lists the operations of the contract, each under its route.
fn operations() -> BTreeMap<Route, &'static Value> {
    let route =
        |it: Operation| Route { method: it.method.to_string(), path: it.path.into(), function: it.function.into() };
    contract::operations()
        .map(|operation| (operation.content, route(operation)))
        .map(|(it, route)| (route, it))
        .collect()
}

/// Says everything that a new function lacks at once.
#[test]
fn every_function_has_all_its_parts_and_every_part_a_function() {
    let resources = template::functions();
    let places = [
        ("[workspace.metadata.lambda.watch.router] of Cargo.toml", WORKSPACE.routes.clone()),
        ("openapi.yaml, with the function as operationId or x-function", operations().into_keys().collect()),
        ("template.yaml, as an event of the function", template::routes()),
    ];
    let routes: BTreeSet<_> = places.iter().flat_map(|(_, routes)| routes).collect();
    let of_routes = routes.iter().map(|route| &route.function);
    let all: BTreeSet<_> =
        WORKSPACE.functions.keys().chain(WORKSPACE.events.keys()).chain(resources.keys()).chain(of_routes).collect();
    let mut lacks = Vec::new();
    for name in all {
        let has_binary = WORKSPACE.functions.get(name).is_some_and(|binaries| binaries.iter().eq([name]));
        let parts = [
            (has_binary, "a crate below functions/ with one binary, both of this name"),
            (WORKSPACE.events.contains_key(name), "a sample event in events/"),
            (resources.contains_key(name), "a resource in template.yaml"),
        ];
        lacks.extend(parts.iter().filter(|(has, _)| !has).map(|(_, part)| format!("{name}: {part}")));
        let own: Vec<_> = routes.iter().filter(|route| route.function == *name).collect();
        for route in &own {
            let missing = places.iter().filter(|(_, routes)| !routes.contains(route));
            lacks.extend(missing.map(|(place, _)| format!("{name}: {} {} in {place}", route.method, route.path)));
        }
        let expected = match WORKSPACE.catalogue.get(name).map(|function| function.trigger) {
            Ok(Trigger::Request | Trigger::Address) | Err(_) => 1,
            Ok(Trigger::Queue | Trigger::Schedule | Trigger::Deploy) => 0,
        };
        let paths: BTreeSet<_> = own.iter().map(|route| &route.path).collect();
        if paths.len() != expected {
            lacks.push(format!("{name}: {expected} paths instead of {paths:?}, or another trigger in template.yaml"));
        }
    }
    assert!(lacks.is_empty(), "what is missing:\n{}", lacks.join("\n"));
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
