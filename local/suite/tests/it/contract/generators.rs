//! Tests that the contract has the form that generators of clients need. Each rule is one that some generator broke on.

use std::collections::BTreeSet;

use local_suite::harness::contract::{CONTRACT, members};
use serde_json::Value;

use super::{operations, visit, workspace::array};

/// Calls `look` with every schema of the contract, each part of one included.
fn each_schema(mut look: impl FnMut(&'static Value)) {
    visit(&CONTRACT.document, &mut |value| {
        for name in ["schema", "items"] {
            value.get(name).filter(|it| it.is_object()).into_iter().for_each(&mut look);
        }
        for (_, property) in members(&value["properties"]) {
            look(property);
        }
    });
    for (_, schema) in members(&CONTRACT.document["components"]["schemas"]) {
        look(schema);
    }
}

#[test]
fn whatever_is_fixed_says_its_type() {
    let mut fixed = 0;
    each_schema(|schema| {
        if schema.get("const").is_some() || schema.get("enum").is_some() {
            assert!(schema["type"].is_string(), "{schema}");
            fixed += 1;
        }
    });
    assert!(fixed > 50, "the schemas were found: {fixed}");
}

#[test]
fn every_pattern_is_about_the_whole_text() {
    let mut patterns = 0;
    each_schema(|schema| {
        if let Some(pattern) = schema["pattern"].as_str() {
            assert!(pattern.starts_with('^') && pattern.ends_with('$'), "{pattern}");
            patterns += 1;
        }
    });
    assert!(patterns > 20, "the schemas were found: {patterns}");
}

#[test]
fn every_time_has_six_digits_of_a_second() {
    let mut times = 0;
    each_schema(|schema| {
        if schema["format"] == "date-time" {
            assert_eq!(schema["pattern"], r"^.{19}\.[0-9]{6}Z$");
            times += 1;
        }
    });
    assert!(times >= 4, "the schemas were found");
}

#[test]
fn a_fixed_member_does_not_bear_the_name_of_its_schema() {
    for (name, schema) in members(&CONTRACT.document["components"]["schemas"]) {
        for (property, value) in members(&schema["properties"]) {
            let is_fixed = value.get("const").is_some() || value.get("enum").is_some();
            assert!(!is_fixed || !property.eq_ignore_ascii_case(name), "{name}");
        }
    }
}

#[test]
fn a_discriminator_has_one_value_for_each_schema_of_its_union() {
    let mut discriminators = 0;
    each_schema(|schema| {
        if let Some(discriminator) = schema.get("discriminator") {
            let reference = |schema: &'static Value| schema.as_str().or(schema["$ref"].as_str()).unwrap();
            let mapped: BTreeSet<_> = members(&discriminator["mapping"]).map(|(_, schema)| reference(schema)).collect();
            let union: BTreeSet<_> = array(&schema["oneOf"]).iter().map(reference).collect();
            assert_eq!(mapped, union);
            assert_eq!(mapped.len(), members(&discriminator["mapping"]).count());
            for (value, reference) in members(&discriminator["mapping"]) {
                let schema = CONTRACT.document.pointer(&reference.as_str().unwrap()[1..]).unwrap();
                let property = discriminator["propertyName"].as_str().unwrap();
                assert_eq!(schema["properties"][property]["const"], value.as_str());
            }
            discriminators += 1;
        }
    });
    assert!(discriminators > 0, "the schemas were found");
}

#[test]
fn every_union_has_a_name_and_so_has_each_of_its_forms() {
    let named: BTreeSet<_> =
        members(&CONTRACT.document["components"]["schemas"]).map(|(_, schema)| schema.to_string()).collect();
    each_schema(|schema| {
        if let Some(forms) = schema.get("oneOf") {
            assert!(named.contains(&schema.to_string()), "{schema}");
            assert!(array(forms).iter().all(|form| form["$ref"].is_string()), "{schema}");
        }
        assert!(schema.get("allOf").is_none() && schema.get("anyOf").is_none(), "{schema}");
    });
}

/// Whether a text that a client sends has an end.
fn is_bounded(schema: &Value) -> bool {
    let is_text = schema["type"] == "string" || array(&schema["type"]).iter().any(|kind| kind == "string");
    !is_text || ["maxLength", "pattern", "enum", "const"].iter().any(|bound| schema.get(bound).is_some())
}

#[test]
fn every_text_that_a_client_sends_is_bounded() {
    let mut texts = 0;
    for (route, operation) in operations() {
        let media = &operation["requestBody"]["content"]["application/json"];
        let body = CONTRACT.resolve(&media["schema"]);
        // An open schema is somebody else's, whose event is taken as it comes.
        let properties = members(&body["properties"]).filter(|_| body["additionalProperties"] == false);
        let path = &CONTRACT.document["paths"][&route.path];
        let parameters = [operation, path].map(|of| array(&of["parameters"]).iter().map(|it| CONTRACT.resolve(it)));
        let parameters = parameters.into_iter().flatten().map(|it| (it["name"].as_str().unwrap(), &it["schema"]));
        for (name, schema) in properties.map(|(name, schema)| (name.as_str(), schema)).chain(parameters) {
            assert!(is_bounded(CONTRACT.resolve(schema)), "{route:?}: {name}");
            texts += 1;
        }
    }
    assert!(texts > 40, "the requests were found: {texts}");
}

#[test]
fn every_parameter_has_an_example_that_its_schema_allows() {
    for (name, parameter) in members(&CONTRACT.document["components"]["parameters"]) {
        let example = parameter.get("example").or(parameter["schema"].get("default"));
        let example = example.unwrap_or_else(|| panic!("{name} has no example"));
        let errors = CONTRACT.errors(&parameter["schema"], example);
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
}

#[test]
fn no_path_has_servers_of_its_own_since_clients_would_go_there_whatever_they_are_told() {
    visit(&CONTRACT.document["paths"], &mut |value| assert!(value.get("servers").is_none(), "{value}"));
    let servers = array(&CONTRACT.document["servers"]).iter().map(|server| server["url"].as_str().unwrap());
    assert_eq!(servers.collect::<Vec<_>>(), ["http://127.0.0.1:9000", "{api_url}", "{stream_url}"]);
}
