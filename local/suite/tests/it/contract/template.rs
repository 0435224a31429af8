//! Tests that the AWS stack has every function, and calls it the way the local stack does.

use std::collections::{BTreeMap, BTreeSet};

use local_stack::lambda::{entrance, functions::resources};
use local_suite::harness::contract::members;
use serde_json::Value;

use super::{
    environment::allows,
    has_address,
    workspace::{Route, WORKSPACE, array, text},
};

/// Returns the resources of functions, by the functions' names.
pub fn functions() -> BTreeMap<String, &'static Value> {
    resources(&WORKSPACE.template)
}

/// Lists a function's triggers: the types and properties of its events.
fn triggers(function: &Value) -> Vec<(&str, &Value)> {
    members(&function["Properties"]["Events"])
        .map(|(_, event)| (event["Type"].as_str().expect("a type"), &event["Properties"]))
        .collect()
}

/// Lists the routes that lead to the functions. An address takes whatever the local router leads to it.
pub fn routes() -> BTreeSet<Route> {
    let addressed = WORKSPACE.routes.iter().filter(|route| has_address(&route.function)).cloned();
    let mut routes: BTreeSet<_> = addressed.collect();
    for (name, function) in functions() {
        for (_, route) in triggers(function).iter().filter(|it| it.0 == "HttpApi") {
            routes.insert(Route { method: text(&route["Method"]), path: text(&route["Path"]), function: name.clone() });
        }
    }
    routes
}

#[test]
fn a_functions_resource_has_its_name_and_its_code() {
    for (name, function) in functions() {
        let full_name = format!("${{AWS::StackName}}-{name}");
        assert_eq!(text(&function["Properties"]["FunctionName"]), full_name);
        assert_eq!(text(&function["Properties"]["CodeUri"]), format!("target/lambda/{name}/"));
    }
}

#[test]
fn a_function_has_one_kind_of_trigger_and_one_without_is_called_by_a_custom_resource() {
    let resources = members(&WORKSPACE.template["Resources"]);
    let tokens: Vec<_> = resources.filter_map(|(_, it)| it["Properties"]["ServiceToken"].as_str()).collect();
    for (name, function) in functions() {
        let triggers: Vec<_> = triggers(function).iter().map(|it| it.0).collect();
        match triggers[..] {
            [] if has_address(&name) => {
                let address = &function["Properties"]["FunctionUrlConfig"];
                assert_eq!(address["InvokeMode"], "RESPONSE_STREAM", "{name}");
                // The function verifies access tokens itself, as the others do.
                assert_eq!(address["AuthType"], "NONE", "{name}");
            }
            [] => {
                let logical = text(&function["Properties"]["FunctionName"]);
                let called = tokens.iter().any(|token| {
                    let resource = token.strip_suffix(".Arn").expect("an ARN");
                    WORKSPACE.template["Resources"][resource]["Properties"]["FunctionName"] == logical
                });
                assert!(called, "nothing calls {name}");
            }
            ["HttpApi" | "SQS" | "Schedule"] | ["HttpApi", "HttpApi"] => {}
            _ => panic!("{name} is called by {triggers:?}"),
        }
    }
}

#[test]
fn the_deploy_migrates_to_the_newest_schema_before_new_code_serves() {
    let resources = &WORKSPACE.template["Resources"];
    let migration = &resources["Migration"]["Properties"];
    assert_eq!(migration["SchemaVersion"], shared::database::schema_version(), "of `Migration` in template.yaml");
    for (name, resource) in members(resources) {
        let is_step = ["MigrateFunction", "SecretGetFunction"].contains(&name.as_str());
        if resource["Type"] == "AWS::Serverless::Function" && !is_step {
            assert_eq!(resource["DependsOn"], "Migration", "{name}");
        }
    }
}

#[test]
fn what_waits_sends_codes_or_hashes_passwords_has_a_throttle_of_its_own_and_so_has_health() {
    let throttles = &WORKSPACE.template["Resources"]["Api"]["Properties"]["RouteSettings"];
    let throttled: BTreeSet<_> = members(throttles).map(|(route, _)| route.clone()).collect();
    let expected = WORKSPACE.routes.iter().filter(|route| {
        let function = WORKSPACE.catalogue.get(&route.function).unwrap();
        let (sends_codes, hashes) = (function.variables.contains("OTP_DELIVERY"), function.memory_mb == 1_769);
        sends_codes || hashes || ["health-get", "message-get"].contains(&route.function.as_str())
    });
    let expected: BTreeSet<_> = expected.map(|route| format!("{} {}", route.method, route.path)).collect();
    assert_eq!(throttled, expected);
    for (route, settings) in members(throttles) {
        // A route that has settings of its own has none of the default ones.
        for name in ["ThrottlingRateLimit", "ThrottlingBurstLimit", "DetailedMetricsEnabled"] {
            assert!(settings.get(name).is_some(), "{route} has no {name}");
        }
    }
}

/// Returns the default of a parameter that is a list, whose members CloudFormation trims.
fn parameter(name: &str) -> String {
    text(&WORKSPACE.template["Parameters"][name]["Default"]).replace(", ", ",")
}

#[test]
fn browsers_may_do_the_same_locally() {
    let resources = &WORKSPACE.template["Resources"];
    let api = &resources["Api"]["Properties"]["CorsConfiguration"];
    let stream = &resources["MessageStreamFunction"]["Properties"]["FunctionUrlConfig"]["Cors"];
    for cors in [api, stream] {
        let list = |name: &str| match array(&cors[name]) {
            [] => parameter(&text(&cors[name])), // a reference
            names => names.iter().map(text).collect::<Vec<_>>().join(","),
        };
        assert_eq!(list("AllowMethods"), entrance::ALLOWED_METHODS);
        assert_eq!(list("AllowHeaders"), entrance::ALLOWED_HEADERS);
        assert_eq!(list("ExposeHeaders"), entrance::EXPOSED_HEADERS);
        assert_eq!(cors["MaxAge"].to_string(), entrance::MAX_AGE);
    }
}

#[test]
fn a_browser_may_send_what_sdks_for_traces_and_errors_add() {
    let allowed = parameter("CorsHeaders");
    let allowed: Vec<_> = allowed.split(',').collect();
    for name in ["authorization", "baggage", "sentry-trace", "traceparent", "tracestate", "x-request-id"] {
        assert!(allowed.contains(&name), "{name}");
    }
}

#[test]
fn nothing_that_is_paid_for_when_idle_is_on_unasked() {
    let parameters = &WORKSPACE.template["Parameters"];
    assert_eq!(parameters["DetailedMetrics"]["Default"], "false");
    let api = &WORKSPACE.template["Resources"]["Api"]["Properties"];
    let routes = members(&api["RouteSettings"]).map(|(_, settings)| settings);
    for settings in routes.chain([&api["DefaultRouteSettings"]]) {
        assert_eq!(settings["DetailedMetricsEnabled"], "DetailedMetrics", "the parameter");
    }
}

/// Every alarm is $0.10 a month, every metric 0.30 and the secret 0.40; the document adds them up.
#[test]
fn the_table_of_an_idle_stack_counts_its_alarms_and_metrics() {
    let document = include_str!("../../../../../docs/operations.md");
    let count = |kind: &str| members(&WORKSPACE.template["Resources"]).filter(|(_, it)| it["Type"] == kind).count();
    let (alarms, metrics) = (count("AWS::CloudWatch::Alarm"), count("AWS::Logs::MetricFilter"));
    let cents = 40 + 10 * alarms + 30 * metrics;
    let row = format!(
        "| The stack: a secret, {alarms} alarms, {metrics} metrics from logs | {}.{:02} |",
        cents / 100,
        cents % 100
    );
    assert!(document.contains(&row), "{row}");
}

#[test]
fn access_logs_have_a_name_that_needs_no_line_in_the_regions_policy() {
    let name = text(&WORKSPACE.template["Resources"]["AccessLogs"]["Properties"]["LogGroupName"]);
    assert!(name.starts_with("/aws/vendedlogs/"), "{name}");
}

#[test]
fn the_consumers_begin_at_the_least_that_aws_takes_and_one_is_refused_before_a_deploy() {
    let parameter = &WORKSPACE.template["Parameters"]["MaximumConsumers"];
    assert_eq!(parameter["Default"], "2");
    for allowed in ["0", "2", "9", "10", "99", "100", "1000"] {
        assert!(allows(parameter, allowed), "{allowed}");
    }
    for refused in ["1", "01", "1001", "2000", "-1", ""] {
        assert!(!allows(parameter, refused), "{refused}");
    }
}

#[test]
fn the_visibility_timeout_is_six_times_that_of_the_consumer() {
    let queue = &WORKSPACE.template["Resources"]["WakeUpQueue"]["Properties"];
    let consumer = WORKSPACE.catalogue.get("message-answer").unwrap();
    let six_times = Some(6 * consumer.timeout.as_secs());
    assert_eq!(queue["VisibilityTimeout"].as_u64(), six_times);
    let batch = triggers(functions()["message-answer"])[0].1;
    let reported = array(&batch["FunctionResponseTypes"]);
    assert_eq!(reported, ["ReportBatchItemFailures"]);
}

/// Returns the metrics that alarms watch of a function, by name.
fn watched(function: &str) -> Vec<&'static str> {
    let is_about = |dimension: &Value| dimension["Name"] == "FunctionName" && dimension["Value"] == function;
    let resources = members(&WORKSPACE.template["Resources"]).map(|(_, resource)| resource);
    let alarms = resources.filter(|resource| resource["Type"] == "AWS::CloudWatch::Alarm");
    let alarms = alarms.map(|alarm| &alarm["Properties"]);
    alarms
        .filter(|alarm| alarm["Dimensions"].as_array().is_some_and(|all| all.iter().any(is_about)))
        .map(|alarm| alarm["MetricName"].as_str().expect("a metric"))
        .collect()
}

#[test]
fn a_function_that_is_not_behind_the_api_has_alarms_of_its_own() {
    let is_step = |name: &str| ["MigrateFunction", "SecretGetFunction"].contains(&name); // the deploy fails with them
    for (name, resource) in members(&WORKSPACE.template["Resources"]) {
        if resource["Type"] != "AWS::Serverless::Function" || is_step(name) {
            continue;
        }
        let has_route = triggers(resource).iter().any(|(kind, _)| *kind == "HttpApi");
        let watched = watched(name);
        assert_eq!(watched.contains(&"Errors"), !has_route, "{name}: {watched:?}");
        let has_address = resource["Properties"].get("FunctionUrlConfig").is_some();
        assert_eq!(watched.contains(&"Url5xxCount"), has_address, "{name}: {watched:?}");
    }
}

#[test]
fn no_alarm_counts_messages_that_one_user_can_make_fail() {
    for (name, resource) in members(&WORKSPACE.template["Resources"]) {
        if resource["Type"] == "AWS::Logs::MetricFilter" {
            let pattern = text(&resource["Properties"]["FilterPattern"]);
            assert!(!pattern.contains("message_failed"), "{name} counts {pattern}");
        }
    }
}
