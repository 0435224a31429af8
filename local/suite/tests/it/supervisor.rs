//! Tests that the local stack acts as Lambda, API Gateway and SQS do, where a test or a developer relies on it.

use std::{env::current_exe, future::pending, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;

use local_stack::{
    lambda::entrance::{ALLOWED_HEADERS, ALLOWED_METHODS, EXPOSED_HEADERS, MAX_AGE},
    machine::ports::Port,
    reference::Reference,
    services::postgres::connect,
    settings::Settings,
};
use local_suite::harness::{Stack, contract, run, until};
use reqwest::{
    Method,
    header::{HeaderMap, HeaderValue},
};
use rustix::process::test_kill_process;
use serde_json::{Value, json};
use tokio::{process::Command, time::sleep};

use crate::stops::{id, kill, process};

async fn start() -> Stack {
    Stack::start(&Stack::services(), Settings::default(), contract::check).await
}

#[tokio::test]
async fn a_test_without_services_says_in_one_line_how_to_get_them() {
    let mut test = Command::new(current_exe().unwrap());
    test.args(["--exact", "supervisor::a_path_or_method_without_a_route_is_not_found"]);
    test.env_remove("DATABASE_URL").env_remove("RUST_BACKTRACE");
    let output = test.output().await.unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let lines = said.lines().filter(|line| line.contains("DATABASE_URL") && line.contains("cargo local services"));
    assert_eq!((output.status.success(), lines.count()), (false, 1), "{said}");
}

#[tokio::test]
async fn a_path_or_method_without_a_route_is_not_found() {
    let stack = start().await;
    for (method, path) in [("GET", "/nowhere"), ("PUT", "/chatroom"), ("GET", "/")] {
        // The contract has no such paths to hold a response to.
        let request = stack.request(method.parse().unwrap(), path);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 404, "{method} {path}");
        let body: Value = response.json().await.unwrap();
        assert_eq!(body, json!({ "message": "Not Found" }));
    }
}

/// The CORS headers of a response, without `access-control-`.
fn cors(headers: &HeaderMap) -> Vec<(&str, &str)> {
    let names = ["allow-origin", "allow-methods", "allow-headers", "expose-headers", "max-age"];
    let named = names.into_iter().filter_map(|name| {
        let value = headers.get(format!("access-control-{name}"))?;
        Some((name, value.to_str().unwrap()))
    });
    named.collect()
}

#[tokio::test]
async fn a_page_of_this_machine_may_call_and_read_and_a_page_from_elsewhere_may_not() {
    let stack = start().await;
    let user = stack.user().await;
    let preflight = async |origin: &str| {
        let request = stack
            .request(Method::OPTIONS, "/chatroom")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 204, "{origin}");
        response.headers().clone()
    };
    let call = async |origin: &str, token: &str| {
        let request = stack.request(Method::GET, "/chatroom").bearer_auth(token);
        let response = request.header("origin", origin).send().await.unwrap();
        (response.status().as_u16(), response.headers().clone())
    };
    for origin in ["http://localhost:5173", "http://127.0.0.1:3000", "http://localhost"] {
        let expected = [
            ("allow-origin", origin),
            ("allow-methods", ALLOWED_METHODS),
            ("allow-headers", ALLOWED_HEADERS),
            ("max-age", MAX_AGE),
        ];
        assert_eq!(cors(&preflight(origin).await), expected);
        let expected = [("allow-origin", origin), ("expose-headers", EXPOSED_HEADERS)];
        let (status, headers) = call(origin, &user.token).await;
        assert_eq!((status, cors(&headers)), (200, expected.to_vec()));
        let (status, headers) = call(origin, "spent").await;
        assert_eq!((status, cors(&headers)), (401, expected.to_vec()));
    }
    for origin in [
        "https://example.com",
        "http://localhost.example.com",
        "http://localhost:5173.example.com",
        "https://localhost:5173",
        "null",
    ] {
        assert!(cors(&preflight(origin).await).is_empty(), "{origin}");
        let (status, headers) = call(origin, &user.token).await;
        assert_eq!((status, cors(&headers)), (200, Vec::new()), "{origin}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_reach_the_function_and_ten_megabytes_do_not() {
    let stack = start().await;
    let user = stack.user().await;
    let room = user.room().await;
    let post = |key: &[u8], content_type: &str, body: Vec<u8>| {
        let key = HeaderValue::from_bytes(key).unwrap();
        let request = user
            .request(Method::POST, &format!("{room}/message"))
            .header("idempotency-key", key)
            .header("content-type", content_type);
        request.body(body)
    };
    let good = br#"{"content":"Hello"}"#.to_vec();
    let bad = b"{\"content\":\"a\xffb\"}".to_vec();
    for content_type in ["application/json", "application/json; charset=utf-8"] {
        let request = post(b"key", content_type, bad.clone());
        let response = user.send(request).await;
        assert_eq!(response.problem(), (400, "malformed"), "{content_type}");
    }
    let response = user.send(post(b"key", "text/plain", bad)).await;
    assert_eq!(response.problem(), (415, "not-json"));
    let key = "ключ".as_bytes();
    let response = user.send(post(key, "application/json", good)).await;
    assert_eq!(response.problem(), (400, "malformed"));

    let large = vec![b' '; 10 << 20];
    let response = user.send(post(b"key", "application/json", large)).await;
    assert_eq!(response.problem(), (413, "too-large"), "the function's answer");
    let larger = vec![b' '; (10 << 20) + 1];
    let request = post(b"key", "application/json", larger);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 413);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body, json!({ "message": "Request Entity Too Large" }));
}

#[tokio::test]
async fn the_reference_is_one_page_that_calls_this_system_and_loads_nothing_from_elsewhere() {
    let stack = start().await;
    let reference = Reference::serve(Port::Free, &stack.url).await.unwrap();
    let get = async |path: &str| {
        let url = format!("{}{path}", reference.url);
        let response = stack.client.get(url).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    };
    let page = get("").await;
    for part in page.split(['"', '\'']).filter(|part| part.contains('/')) {
        assert!(!part.contains("//"), "{part} is elsewhere");
    }
    let files: Vec<_> =
        page.split('"').filter(|part| [".js", ".css", ".png", ".yaml"].iter().any(|end| part.ends_with(end))).collect();
    assert_eq!(files, ["favicon-32x32.png", "swagger-ui.css", "swagger-ui-bundle.js", "openapi.yaml"]);
    for file in files {
        let least = if file == "favicon-32x32.png" { 100 } else { 10_000 };
        assert!(get(file).await.len() > least, "{file}");
    }
    assert!(page.contains("displayOperationId: true"), "operations are shown with their names");
    let server = format!("servers:\n  - url: {}\n", stack.url);
    assert!(get("openapi.yaml").await.contains(&server), "{server}");
}

#[tokio::test]
async fn a_caller_of_a_killed_process_gets_an_error_and_the_next_one_another_process() {
    let stack = start().await;
    let user = stack.user().await;
    let room = user.room().await;
    let held = (stack.system.deliveries().pause().await, stack.system.schedules().pause().await);
    stack.script(&json!([{ "hang": true }])).await;
    let message = user.post(&room, "Hello").await;

    let killed = async {
        stack.called("Hello").await;
        kill(&stack, "message-answer").await;
    };
    let (answered, ()) = tokio::join!(stack.system.wake(id(&room)), killed);
    let error = answered.unwrap_err().to_string();
    assert!(error.contains("Runtime exited: signal: 9"), "{error}");

    drop(held);
    stack.execute("update chatrooms set answering_until = null").await;
    stack.system.wake(id(&room)).await.unwrap();
    user.reply(&message).await;
}

#[tokio::test]
async fn a_rule_fails_at_once_with_what_a_function_panicked_at() {
    let stack = start().await;
    let user = stack.user().await;
    // A column of an unexpected type is a defect that the function can only panic at.
    stack.execute("alter table users alter name type int using null").await;
    let rule = async {
        user.get("/user/me").await;
        pending::<()>().await; // as a test that waits for what will not come
    };
    let failed = AssertUnwindSafe(run(&stack, rule)).catch_unwind().await;
    let message = failed.unwrap_err().downcast::<String>().unwrap();
    assert!(message.starts_with("user-get: ") && message.contains("panicked at"), "{message}");
}

#[tokio::test]
async fn nothing_is_delivered_while_deliveries_are_paused() {
    let stack = start().await;
    let user = stack.user().await;
    let room = user.room().await;
    let held = (stack.system.deliveries().pause().await, stack.system.schedules().pause().await);
    let message = user.post(&room, "Hello").await;
    sleep(Duration::from_millis(1_500)).await;
    assert!(stack.calls("").await.is_empty());
    drop(held);
    user.reply(&message).await;
}

#[tokio::test]
async fn a_system_has_its_own_data_and_leaves_none() {
    let (stack, other) = (start().await, start().await);
    stack.user().await.room().await;
    assert_eq!(other.count("users").await, 0, "it sees the other's users");

    let pids = stack.system.pids("chatroom-create");
    let url = stack.database_url.clone();
    stack.stop().await;
    assert!(connect(&url).await.is_err(), "its database is left");
    let gone = async || pids.iter().all(|pid| test_kill_process(process(*pid)).is_err());
    until("its processes are gone", gone).await;
}
