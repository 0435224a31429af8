//! Tests that the AWS stack gives a function the variables that its code reads, and no others.
//!
//! A function logs the names of its variables at the debug level. They depend on the kinds of queue and state store, so
//! it is started with both.

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
};

use local_stack::{machine::workspace::Workspace, settings::Queue};
use local_suite::harness::contract::members;
use serde_json::Value;

use super::{template, workspace::WORKSPACE};

/// An address without a listener, at which a function that has read its configuration ends.
const NO_RUNTIME: &str = "127.0.0.1:1";

/// The choices between which a function reads other variables.
const KINDS: [(Queue, [(&str, &str); 4]); 2] = [
    (Queue::Sqs, [("QUEUE", "sqs"), ("STATE", "dynamodb"), ("CHATROOM_CACHE", "state"), ("OTP_DELIVERY", "sns")]),
    (Queue::Redis, [("QUEUE", "redis"), ("STATE", "redis"), ("CHATROOM_CACHE", "auto"), ("OTP_DELIVERY", "response")]),
];

/// Returns the variables that a function reads, without those that Lambda itself sets. `cargo local test` sets them
/// all.
fn read(function: &str, kinds: [(&str, &str); 4]) -> BTreeSet<String> {
    let workspace = Workspace::find().unwrap();
    let output = Command::new(workspace.binary(function))
        .envs(kinds)
        .env("AWS_LAMBDA_FUNCTION_NAME", function)
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .env("AWS_LAMBDA_LOG_LEVEL", "DEBUG")
        .env("AWS_LAMBDA_RUNTIME_API", NO_RUNTIME)
        .stdin(Stdio::null())
        .output();
    let output = String::from_utf8(output.unwrap().stdout).unwrap();
    let lines = output.lines().filter_map(|line| serde_json::from_str(line).ok());
    let names = lines.filter_map(|line: Value| line["variable"].as_str().map(str::to_owned));
    names.filter(|name| !name.starts_with("AWS_")).collect()
}

/// Returns the variables that a function reads with any of the kinds with which the stack has it.
fn needed(function: &str) -> BTreeSet<String> {
    let stack = WORKSPACE.catalogue.get(function).unwrap();
    let kinds = KINDS.iter().filter(|(queue, _)| stack.exists_with(*queue));
    kinds.flat_map(|(_, kinds)| read(function, *kinds)).collect()
}

#[test]
fn a_function_gets_the_variables_that_it_reads() {
    let globals = &WORKSPACE.template["Globals"]["Function"]["Environment"]["Variables"];
    for (name, function) in template::functions() {
        let needed = needed(&name);
        let reads_database = name != "secret-get";
        assert_eq!(needed.contains("DATABASE_URL"), reads_database, "{name} reads {needed:?}");
        let own = &function["Properties"]["Environment"]["Variables"];
        let is_taken_away = |name: &str| own[name] == ""; // as if it were not set
        let given = members(own).chain(members(globals)).map(|(name, _)| name.clone());
        let given: BTreeSet<_> = given.filter(|name| !is_taken_away(name)).collect();
        let unequal: Vec<_> = given.symmetric_difference(&needed).collect();
        assert!(unequal.is_empty(), "{name}: only read or only given: {unequal:?}");
    }
}

/// A function that caches reads where the state store is.
#[test]
fn lists_are_cached_by_default_where_the_state_store_is_redis_and_nowhere_else() {
    let variables = |state, cache| {
        read("chatroom-list", [("QUEUE", "sqs"), ("OTP_DELIVERY", "sns"), ("STATE", state), ("CHATROOM_CACHE", cache)])
    };
    for default in ["", "auto"] {
        assert!(variables("redis", default).contains("REDIS_URL"));
        assert!(!variables("dynamodb", default).contains("STATE_TABLE"));
    }
    assert!(!variables("redis", "none").contains("REDIS_URL"));
    assert!(variables("dynamodb", "state").contains("STATE_TABLE"));
}

/// Returns the rows of the table in `docs/configuration.md`, by the variable that each begins with.
fn documented() -> Vec<&'static str> {
    let text = include_str!("../../../../../docs/configuration.md");
    let text = text.split("\n## ").next().unwrap_or_default(); // other tables follow
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next()).collect()
}

#[test]
fn the_documentation_has_one_row_for_each_variable_that_some_function_reads() {
    let mut needed = BTreeSet::new();
    for (name, _) in WORKSPACE.catalogue.iter() {
        needed.extend(self::needed(name));
    }
    let mut documented = documented();
    documented.sort_unstable();
    assert_eq!(documented, needed.iter().collect::<Vec<_>>());
}
