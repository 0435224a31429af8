//! Tests that the local stack acts as Lambda, API Gateway and SQS do, where a test or a developer relies on it.

use std::time::Duration;

use local::{
    harness::{Stack, contract, until},
    services::postgres::connect,
    settings::Settings,
};
use rustix::process::test_kill_process;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::stops::{id, kill, process};

async fn start() -> Stack {
    Stack::start(&Stack::services(), Settings::default(), contract::check).await
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

#[tokio::test]
async fn a_caller_of_a_killed_process_gets_an_error_and_the_next_one_another_process() {
    let stack = start().await;
    let user = stack.user().await;
    let room = user.room().await;
    let held = (
        stack.system.deliveries().pause().await,
        stack.system.schedules().pause().await,
    );
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
    stack
        .execute("update chatrooms set answering_until = null")
        .await;
    stack.system.wake(id(&room)).await.unwrap();
    user.reply(&message).await;
}

#[tokio::test]
async fn nothing_is_delivered_while_deliveries_are_paused() {
    let stack = start().await;
    let user = stack.user().await;
    let room = user.room().await;
    let held = (
        stack.system.deliveries().pause().await,
        stack.system.schedules().pause().await,
    );
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
    let gone = async || {
        pids.iter()
            .all(|pid| test_kill_process(process(*pid)).is_err())
    };
    until("its processes are gone", gone).await;
}
