//! Tests variables that are missing or malformed: the function does not start, and names the variable.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use local_stack::{machine::workspace::Workspace, settings::Variables};
use local_suite::harness::Stack;

use super::Sender;

on_every_kind!(a_function_does_not_start_without_its_secrets_and_needs_no_others);

on!(redis:
    a_malformed_variable_is_named_and_a_secret_in_it_is_not_shown,
    codes_are_shown_in_responses_at_the_stages_local_and_demo_only,
);

const PATIENCE: Duration = Duration::from_secs(10);

/// How a start ended.
#[derive(Debug, PartialEq)]
enum Start {
    /// It asked for its first request.
    Ready,
    /// It ended without, and said this.
    Failed(String),
}

/// Starts a function with these variables and those that Lambda itself sets.
fn start(workspace: &Workspace, function: &str, variables: &Variables) -> Start {
    let lambda = TcpListener::bind("127.0.0.1:0").unwrap();
    lambda.set_nonblocking(true).unwrap();
    let mut process = Command::new(workspace.binary(function))
        .env_clear()
        .env("AWS_LAMBDA_FUNCTION_NAME", function)
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .env("AWS_LAMBDA_RUNTIME_API", lambda.local_addr().unwrap().to_string())
        .envs(variables)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if lambda.accept().is_ok() {
            end(process);
            return Start::Ready;
        }
        if process.try_wait().unwrap().is_some() {
            let output = process.wait_with_output().unwrap();
            assert!(!output.status.success(), "{function} ended as if all were well");
            return Start::Failed(String::from_utf8(output.stderr).unwrap());
        }
        sleep(Duration::from_millis(5));
    }
    end(process);
    panic!("{function} neither starts nor ends");
}

fn end(mut process: Child) {
    process.kill().unwrap();
    process.wait().unwrap();
}

/// Finds the variables without which a function does not start, as it names them one by one.
fn needs(workspace: &Workspace, function: &str, all: &Variables) -> Variables {
    let mut variables = Variables::new();
    while let Start::Failed(message) = start(workspace, function, &variables) {
        let missing = all.iter().find(|(name, _)| message.contains(&format!("{name:?}")));
        let (name, value) = missing.unwrap_or_else(|| panic!("{function} says: {message}"));
        assert!(message.contains("is missing"), "{function} says: {message}");
        let before = variables.insert(name.clone(), value.clone());
        assert_eq!(before, None, "{function} misses {name}, which it has");
    }
    variables
}

pub async fn a_function_does_not_start_without_its_secrets_and_needs_no_others(stack: &Stack) {
    let all = stack.system.variables();
    let workspace = Workspace::find().unwrap();
    let functions = workspace.functions().unwrap().into_iter();
    let functions: Vec<_> = functions.map(|function| (needs(&workspace, &function, &all), function)).collect();
    let that_need = |name: &str| -> Vec<&str> {
        let those = functions.iter().filter(|(needs, _)| needs.contains_key(name));
        those.map(|(_, function)| function.as_str()).collect()
    };
    let with_database = that_need("DATABASE_URL");
    let all = functions.iter().map(|(_, function)| function.as_str());
    let without: Vec<_> = all.filter(|function| !with_database.contains(function)).collect();
    assert_eq!(without, ["secret-get"], "it runs before there is a database");
    assert_eq!(that_need("JWT_PRIVATE_KEY"), ["auth-login", "auth-refresh", "auth-verify-otp"]);
    let sender = Sender::new(stack).await;
    let endpoints = sender.endpoints().into_iter();
    let mut with_token: Vec<_> =
        endpoints.filter(|endpoint| endpoint.needs_token).map(|endpoint| endpoint.function).collect();
    with_token.sort_unstable();
    with_token.dedup(); // a function may have two operations
    assert_eq!(that_need("JWT_PUBLIC_KEYS"), with_token);
    let with_numbers = [
        "auth-change-password",
        "auth-forgot-password",
        "auth-login",
        "auth-refresh",
        "auth-reset-password",
        "auth-send-otp",
        "auth-signup",
        "auth-verify-otp",
        "user-delete",
        "user-update",
    ];
    assert_eq!(that_need("OTP_PEPPER"), with_numbers);
    assert_eq!(that_need("GEMINI_API_KEY"), ["message-answer", "message-drain", "message-stream"]);
    assert_eq!(that_need("STRIPE_WEBHOOK_SECRET"), ["stripe-webhook"]);
    let with_stripe =
        ["stripe-webhook", "subscription-checkout", "subscription-portal", "subscription-sync", "user-delete"];
    assert_eq!(that_need("STRIPE_SECRET_KEY"), with_stripe);
}

pub async fn a_malformed_variable_is_named_and_a_secret_in_it_is_not_shown(stack: &Stack) {
    let all = stack.system.variables();
    let workspace = Workspace::find().unwrap();
    assert_eq!(start(&workspace, "auth-verify-otp", &all), Start::Ready);
    assert_eq!(start(&workspace, "message-send", &all), Start::Ready);
    for (function, name, value) in [
        ("message-send", "DATABASE_URL", "s3cret"),
        ("message-send", "DATABASE_URL", "postgres://user:s3cret@host:port/name"),
        ("message-send", "JWT_PUBLIC_KEYS", "{}"),
        ("message-send", "JWT_PUBLIC_KEYS", r#"{"keys":[]}"#),
        ("message-send", "JWT_PUBLIC_KEYS", r#"{"keys":[{"kid":"1","x":"short"}]}"#),
        ("message-send", "BASIC_DAILY_MESSAGES", "many"),
        ("message-send", "PRO_DAILY_TOKENS", "many"),
        ("message-send", "BASIC_DAILY_MESSAGES", "99999999999"),
        ("message-send", "QUEUE", "kafka"),
        ("auth-verify-otp", "JWT_PRIVATE_KEY", "s3cret"),
        ("auth-verify-otp", "JWT_PRIVATE_KEY", r#"{"kid":"1","d":"s3cret"}"#),
        ("auth-verify-otp", "STATE", "memory"),
        ("auth-send-otp", "OTP_DELIVERY", "pigeon"),
        ("auth-send-otp", "OTP_CODES_PER_ADDRESS_HOUR", "-1"),
        ("auth-send-otp", "OTP_COUNTRIES", "44,DE"),
        ("auth-send-otp", "STAGE", "prod"),
        ("auth-verify-otp", "OTP_GUESSES_PER_ADDRESS_HOUR", "many"),
        ("auth-verify-otp", "TRUSTED_PROXY_SECRET", "s3cret"),
        ("auth-refresh", "REFUSED_REFRESHES_PER_ADDRESS_HOUR", "many"),
    ] {
        let mut variables = all.clone();
        variables.insert(name.into(), value.into());
        let Start::Failed(message) = start(&workspace, function, &variables) else {
            panic!("{function} starts with {name}={value}");
        };
        assert!(message.contains(name) && message.contains("is malformed"), "{message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
}

pub async fn codes_are_shown_in_responses_at_the_stages_local_and_demo_only(stack: &Stack) {
    let workspace = Workspace::find().unwrap();
    for (stage, is_good) in [("local", true), ("demo", true), ("staging", false), ("production", false)] {
        let mut variables = stack.system.variables();
        variables.insert("STAGE".into(), stage.into());
        for function in ["auth-signup", "auth-send-otp", "auth-forgot-password"] {
            match start(&workspace, function, &variables) {
                Start::Ready => assert!(is_good, "{function} starts at {stage}"),
                Start::Failed(message) => {
                    assert!(!is_good && message.contains("OTP_DELIVERY"), "{message}");
                }
            }
        }
    }
}
