//! The AWS stack has every function, and calls it the way the local stack does.

use std::collections::{BTreeMap, BTreeSet};

use local::harness::contract::members;
use serde_json::Value;

use super::workspace::{Route, WORKSPACE, array, text};

/// The resources of functions, by the functions' names.
pub fn functions() -> BTreeMap<String, &'static Value> {
    let resources = members(&WORKSPACE.template["Resources"]);
    let functions = resources.filter(|(_, it)| it["Type"] == "AWS::Serverless::Function");
    functions
        .map(|(name, resource)| {
            let name = name.strip_suffix("Function");
            (kebab(name.expect("…Function")), resource)
        })
        .collect()
}

/// `MessageSend` as `message-send`.
fn kebab(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push('-');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

/// What calls a function: the types and properties of its events.
fn triggers(function: &Value) -> Vec<(&str, &Value)> {
    members(&function["Properties"]["Events"])
        .map(|(_, event)| {
            (
                event["Type"].as_str().expect("a type"),
                &event["Properties"],
            )
        })
        .collect()
}

#[test]
fn every_function_has_a_resource_and_every_resource_a_function() {
    let resources = functions();
    let resources: Vec<_> = resources.keys().collect();
    assert_eq!(resources, WORKSPACE.functions.keys().collect::<Vec<_>>());
    for (name, function) in functions() {
        let full_name = format!("${{AWS::StackName}}-{name}");
        assert_eq!(text(&function["Properties"]["FunctionName"]), full_name);
        assert_eq!(
            text(&function["Properties"]["CodeUri"]),
            format!("target/lambda/{name}/")
        );
    }
}

#[test]
fn the_api_has_the_local_routers_routes_and_no_other() {
    let mut routes = BTreeSet::new();
    for (name, function) in functions() {
        for (_, route) in triggers(function).iter().filter(|it| it.0 == "HttpApi") {
            routes.insert(Route {
                method: text(&route["Method"]),
                path: text(&route["Path"]),
                function: name.clone(),
            });
        }
    }
    let unequal: Vec<_> = WORKSPACE.routes.symmetric_difference(&routes).collect();
    assert!(unequal.is_empty(), "only on one side: {unequal:#?}");
}

#[test]
fn a_function_without_a_route_is_called_by_the_queue_the_schedule_or_the_deploy() {
    let expected = |name: &str| match name {
        "message-answer" => vec!["SQS"],
        "migrate" | "secret-get" => vec![],
        _ => vec!["Schedule"],
    };
    for name in super::WITHOUT_ROUTE {
        let triggers: Vec<_> = triggers(functions()[name]).iter().map(|it| it.0).collect();
        assert_eq!(triggers, expected(name), "{name}");
    }
    let migration = &WORKSPACE.template["Resources"]["Migration"]["Properties"];
    assert_eq!(migration["ServiceToken"], "MigrateFunction.Arn");
    let secret = &WORKSPACE.template["Resources"]["Secret"]["Properties"];
    assert_eq!(secret["ServiceToken"], "SecretGetFunction.Arn");
}

#[test]
fn the_deploy_migrates_to_the_newest_schema_before_new_code_serves() {
    let resources = &WORKSPACE.template["Resources"];
    let migration = &resources["Migration"]["Properties"];
    assert_eq!(
        migration["SchemaVersion"],
        shared::database::schema_version(),
        "of `Migration` in template.yaml"
    );
    for (name, resource) in members(resources) {
        let is_step = ["MigrateFunction", "SecretGetFunction"].contains(&name.as_str());
        if resource["Type"] == "AWS::Serverless::Function" && !is_step {
            assert_eq!(resource["DependsOn"], "Migration", "{name}");
        }
    }
}

#[test]
fn routes_that_wait_or_send_codes_have_throttles_of_their_own() {
    let throttles = &WORKSPACE.template["Resources"]["Api"]["Properties"]["RouteSettings"];
    let throttled: BTreeSet<_> = members(throttles).map(|(route, _)| route.clone()).collect();
    let expected = WORKSPACE.routes.iter().filter(|route| {
        route.path.starts_with("/auth/") || ["message-get"].contains(&route.function.as_str())
    });
    let expected: BTreeSet<_> = expected
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    assert_eq!(throttled, expected);
    for (route, settings) in members(throttles) {
        // A route that has settings of its own has none of the default ones.
        for name in [
            "ThrottlingRateLimit",
            "ThrottlingBurstLimit",
            "DetailedMetricsEnabled",
        ] {
            assert!(settings.get(name).is_some(), "{route} has no {name}");
        }
    }
}

#[test]
fn a_function_has_the_same_time_locally() {
    let default = &WORKSPACE.template["Globals"]["Function"]["Timeout"];
    for (name, function) in functions() {
        let seconds = function["Properties"].get("Timeout").unwrap_or(default);
        let local = local::lambda::functions::timeout_of(&name).as_secs();
        assert_eq!(seconds.as_u64(), Some(local), "{name}");
    }
}

#[test]
fn the_visibility_timeout_is_six_times_that_of_the_consumer() {
    let queue = &WORKSPACE.template["Resources"]["WakeUpQueue"]["Properties"];
    let consumer = local::lambda::functions::timeout_of("message-answer").as_secs();
    assert_eq!(queue["VisibilityTimeout"].as_u64(), Some(6 * consumer));
    let batch = triggers(functions()["message-answer"])[0].1;
    let reported = array(&batch["FunctionResponseTypes"]);
    assert_eq!(reported, ["ReportBatchItemFailures"]);
}
