//! Tests faults 34 and 35: a function that panics, and one that was frozen while its connections were cut.

use futures_util::join;
use local_suite::{
    harness::{Stack, until},
    proxy::Proxy,
};
use rustix::process::Signal;

use crate::stops::{signal, until_logged};

on_every_kind!(connections_that_were_cut_while_the_function_was_frozen_are_replaced);

on!(redis: a_panic_is_a_500_and_the_process_serves_the_next_request);

/// Fault 34: a handler panics.
pub async fn a_panic_is_a_500_and_the_process_serves_the_next_request(stack: &Stack) {
    let stack = stack.another(&[]).await;
    stack.may_panic();
    let user = stack.user().await;
    assert_eq!(user.get("/user/me").await.status, 200);
    let processes = stack.system.pids("user-get");
    // A column of an unexpected type is a defect that the function can only panic at.
    let change = async |kind: &str| {
        let sql = format!("alter table users alter name type {kind} using null");
        stack.execute(&sql).await;
    };
    change("int").await;
    let response = user.get("/user/me").await;
    assert_eq!(response.status, 500);
    assert_eq!(response.headers["content-type"], "application/problem+json");
    assert_eq!(response.body["type"], "/problems/internal");
    let request = response.body["request_id"].as_str().unwrap();
    until_logged(&stack, "user-get", ["panicked", request]).await;

    change("text").await;
    assert_eq!(user.get("/user/me").await.status, 200);
    assert_eq!(stack.system.pids("user-get"), processes);
}

/// Fault 35: connections cut while the function was frozen.
pub async fn connections_that_were_cut_while_the_function_was_frozen_are_replaced(stack: &Stack) {
    const FUNCTIONS: [&str; 3] = ["chatroom-create", "chatroom-list", "message-send"];

    let services = Stack::services();
    let name = format!("frozen_{}", uuid::Uuid::now_v7().simple());
    let database = services.create_database(&name).await.unwrap();
    let redis = services.redis_database().unwrap().unwrap();
    let lines = [
        Proxy::before(&database).unwrap(),
        Proxy::before(&services.aws.endpoint).unwrap(),
        Proxy::before(&redis).unwrap(),
    ];
    let settings =
        [("DATABASE_URL", lines[0].url.as_str()), ("AWS_ENDPOINT_URL", &lines[1].url), ("REDIS_URL", &lines[2].url)];
    let stack = stack.another(&settings).await;
    let user = stack.user().await;
    let room = user.room().await;
    user.get("/chatroom").await;
    user.post(&room, "before").await;
    let processes = || FUNCTIONS.map(|function| stack.system.pids(function));
    let before = processes();
    for pids in &before {
        signal(pids, Signal::STOP);
    }
    let broken = lines.each_ref().map(Proxy::broken);
    lines.iter().for_each(Proxy::cut);
    lines.iter().for_each(Proxy::heal);
    for pids in &before {
        signal(pids, Signal::CONT);
    }
    user.room().await;
    let list = user.get("/chatroom").await;
    assert_eq!(list.body["items"].as_array().unwrap().len(), 2);
    let message = user.post(&room, "after").await;
    assert_eq!(user.settled(&message).await["status"], "answered");
    assert_eq!(processes(), before, "the same processes did it");
    assert!(lines[0].broken() > broken[0]);

    // It may also be noticed only when a statement is under way.
    let _schedules = stack.system.schedules().pause().await;
    user.get("/user/me").await;
    let unheard = lines[0].broken();
    lines[0].fall_silent();
    let cut = async {
        let spoken = async || lines[0].broken() > unheard;
        until("a statement is under way", spoken).await;
        lines[0].heal();
    };
    let (response, ()) = join!(user.get("/user/me"), cut);
    assert_eq!(response.status, 200);
}
