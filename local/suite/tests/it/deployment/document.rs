//! Tests the commands of `docs/operations.md` by running them, from the document's own text.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
};

use local_stack::{
    machine::workspace::Workspace,
    sam,
    services::{Services, aws::Strictness},
    settings::Settings,
};
use local_suite::{
    deployment::{Account, Checkout, DOCUMENT, commands},
    harness::{Stack, text},
};
use reqwest::{Method, Url};
use serde_json::Value;

use super::stack::run;
use crate::contract::template;

/// The steps of a deploy that need nobody but AWS.
const STEPS: [&str; 3] = ["**1. Create the secret.**", "**2. Build and deploy.**", "**3. Point Stripe's webhook**"];

/// Asks SAM how it would run each function.
const FUNCTIONS: &str = include_str!("../../../python/functions.py");

/// The Postgres in those commands.
const POSTGRES: &str = "postgres://user:password@host:5432/chat?sslmode=require";

#[tokio::test]
async fn sam_and_the_linter_find_nothing_in_the_template() {
    let checkout = Checkout::real(&Workspace::find().unwrap()).await.unwrap();
    checkout.run("sam validate --lint --region us-east-1").await.unwrap();
    checkout.run("cfn-lint --non-zero-exit-code informational template.yaml").await.unwrap();
}

#[test]
fn the_documented_commands_deploy_into_ministack_and_invoke_a_function() {
    run(async |deployed| {
        let transcript = &deployed.deployment.transcript;
        let response = transcript.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
        let response = response.unwrap_or_else(|| panic!("no response in {transcript}"));
        assert_eq!(response["statusCode"], 401, "its token is made up");
    });
}

#[test]
fn the_address_of_streams_joins_with_a_path_as_the_documents_join_them() {
    run(async |deployed| {
        let stream = &deployed.deployment.outputs["StreamUrl"];
        let room = "019b0000-0000-7000-8000-000000000002";
        let joined = Url::parse(&format!("{stream}/chatroom/{room}/stream")).unwrap();
        assert_eq!(joined.path(), format!("/chatroom/{room}/stream"), "{joined}");
        assert!(joined.host_str().unwrap().contains(".lambda-url."), "{joined}");
    });
}

#[tokio::test]
async fn a_first_deploy_asks_nothing_and_a_new_secret_needs_one_override() {
    let account = Account::open(&Stack::services(), "first", Strictness::Trusting).await.unwrap();
    let steps = STEPS.map(|step| commands(DOCUMENT, step).unwrap()).concat();
    assert!(steps.contains(POSTGRES), "{steps}");
    let aws = account.aws.variables();
    let aws = aws.iter().map(|(name, value)| (*name, value.as_str()));
    let mut variables: Vec<_> = aws.chain([("EDITOR", "true")]).collect();
    variables.push(("AWS_DEFAULT_REGION", &account.aws.region));
    let steps = steps.replace(POSTGRES, &account.database_url);
    let session = account.checkout.run_at_a_terminal(&steps, &variables).await.unwrap();
    assert_eq!(session.questions, 0, "{}", session.output);

    // The second deploy took the new secret, and kept the parameters.
    let variable = async |function: &str, name: &str| {
        let path = format!("/2015-03-31/functions/chat-{function}/configuration");
        let function = account.aws.rest("lambda", Method::GET, &path, &Value::Null).await.unwrap();
        function["Environment"]["Variables"][name].clone()
    };
    assert_eq!(variable("stripe-webhook", "STRIPE_WEBHOOK_SECRET").await, "whsec_...");
    assert_eq!(variable("auth-signup", "OTP_COUNTRIES").await, "1,44,49");
    assert_eq!(variable("subscription-checkout", "STRIPE_PRO_PRICE_ID").await, "price_...");
}

/// There is no Docker here, so SAM says how it would run each function.
#[tokio::test]
async fn sam_local_invoke_finds_every_function_with_the_variables_of_the_running_system() {
    let directory = tempfile::tempdir().unwrap();
    let workspace = Workspace::find().unwrap();
    let checkout = Checkout::lay_out(&workspace, directory.path()).await.unwrap();
    let services = Services::from_env().unwrap();
    let own = services.variables(&env::var("DATABASE_URL").unwrap(), "http://127.0.0.1/queue", "table");
    let variables = Settings::default().variables(own).unwrap();
    checkout.write_parameters(&sam::parameters(&variables)).unwrap();
    sam::write_variables(&directory.path().join("target"), &variables).unwrap();

    let mut python = checkout.command("python").unwrap();
    let functions = local_stack::machine::process::run(python.args(["-c", FUNCTIONS])).await.unwrap();
    let functions: BTreeMap<String, Value> = serde_json::from_str(functions.lines().last().unwrap()).unwrap();
    let folders: BTreeSet<_> = functions.values().map(|function| text(&function["code"]).to_owned()).collect();
    let expected = template::functions().into_keys().map(|name| format!("target/lambda/{name}"));
    assert_eq!(folders, expected.collect());
    for (name, function) in &functions {
        let given = function["variables"].as_object().unwrap();
        assert_eq!(given["DATABASE_URL"], variables["DATABASE_URL"], "{name}");
        for (variable, value) in given.iter().filter(|(variable, _)| !variable.starts_with("AWS_")) {
            let expected = variables.get(variable);
            assert!(expected.is_none_or(|expected| value == expected), "{variable} of {name}: {value}");
        }
    }

    // The documented line invokes one of them, with an event that is there.
    let line = commands(DOCUMENT, "**Invoke one function in a container**").unwrap().lines().last().unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    let ["sam", "local", "invoke", function, "--config-env", "local", "--event", event] = words[..] else {
        panic!("{line}");
    };
    assert!(functions.contains_key(function), "{function}");
    assert!(directory.path().join(event).is_file(), "{event}");
}
