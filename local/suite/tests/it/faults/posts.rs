//! Tests faults 1 to 3: the fate of a post.

use futures_util::join;
use local_suite::{
    harness::{Stack, until},
    proxy::Proxy,
};
use reqwest::Method;
use serde_json::json;

use crate::stacks::DAILY;
use crate::stops::{behind_proxies, kill, swept, without_workers};

on_every_kind!(
    a_post_while_the_queue_is_down_is_answered_once_it_is_back,
    a_crash_after_the_commit_and_before_the_wake_up_is_made_up_for_by_the_sweep,
);

on!(sqs:
    a_post_while_postgres_is_down_is_refused_and_leaves_nothing,
    only_the_first_post_under_a_key_wakes_the_room,
    nothing_is_asked_beyond_the_tokens_of_a_day,
);

/// Fault 1: the queue is down when a message is posted.
pub async fn a_post_while_the_queue_is_down_is_answered_once_it_is_back(stack: &Stack) {
    let (stack, lines) = behind_proxies(stack).await;
    let user = stack.user().await;
    let room = user.room().await;
    lines.iter().for_each(Proxy::cut);
    let message = user.post(&room, "hello").await;
    assert!(lines.iter().map(Proxy::broken).sum::<usize>() > 0);
    assert_eq!(user.get(&message).await.body["status"], "queued");

    lines.iter().for_each(Proxy::heal);
    let settled = swept(&stack, &user, &message).await;
    assert_eq!(settled["reply"]["content"], "echo: hello");
    assert_eq!(user.used().await, 1);
}

/// Fault 2: a crash after the commit, before the wake-up.
pub async fn a_crash_after_the_commit_and_before_the_wake_up_is_made_up_for_by_the_sweep(stack: &Stack) {
    let (stack, lines) = behind_proxies(stack).await;
    let _schedules = stack.system.schedules().pause().await;
    let user = stack.user().await;
    let room = user.room().await;
    // The wake-up is under way for ever, and so the process can be killed meanwhile.
    lines.iter().for_each(Proxy::fall_silent);
    let post = user.request(Method::POST, &format!("{room}/message"));
    let post = post.json(&json!({ "content": "hello" })).send();
    let crash = async {
        let committed = async || stack.count("messages").await == 1;
        until("the message is committed", committed).await;
        kill(&stack, "message-send").await;
    };
    let (response, ()) = join!(post, crash);
    assert!(response.is_ok_and(|response| response.status().is_server_error()));
    lines.iter().for_each(Proxy::heal);
    assert_eq!(stack.system.queue_length().await.unwrap(), 0);

    let id: String = stack.value("select id::text from messages").await;
    let settled = swept(&stack, &user, &format!("{room}/message/{id}")).await;
    assert_eq!(settled["reply"]["content"], "echo: hello");
    assert_eq!(user.used().await, 1);
}

/// A post that is repeated under its key is one message, and needs one wake-up.
pub async fn only_the_first_post_under_a_key_wakes_the_room(stack: &Stack) {
    let stack = stack.another(&[]).await;
    let user = stack.user().await;
    let room = user.room().await;
    let _workers = without_workers(&stack).await;
    let _schedules = stack.system.schedules().pause().await;
    for _ in 0..3 {
        let post = user.request(Method::POST, &format!("{room}/message")).header("idempotency-key", "once");
        let response = stack.send(post.json(&json!({ "content": "hello" }))).await;
        assert_eq!(response.status, 202);
    }
    assert_eq!(stack.system.queue_length().await.unwrap(), 1);
}

/// A budget of tokens ends with the reply that uses it up, whatever was accepted before.
pub async fn nothing_is_asked_beyond_the_tokens_of_a_day(stack: &Stack) {
    let stack = stack.another(&[("BASIC_DAILY_TOKENS", "1")]).await;
    let user = stack.user().await;
    let room = user.room().await;
    let workers = without_workers(&stack).await;
    let first = user.post(&room, "first").await;
    let second = user.post(&room, "second").await;
    drop(workers);
    assert_eq!(user.settled(&first).await["status"], "answered");
    assert_eq!(user.settled(&second).await["failure"]["reason"], "DAILY_TOKENS");
    assert!(stack.calls("second").await.is_empty());

    let refused = user.try_post(&room, "third").await;
    assert_eq!(refused.problem(), (429, "over-limit"));
    let policy = refused.headers["ratelimit-policy"].to_str().unwrap();
    assert!(policy.starts_with("\"daily-tokens\";q=1;"), "{policy}");
    let usage = user.call(Method::GET, "/subscription/status", 200).await["usage"].clone();
    assert_eq!((&usage["used"], &usage["limit"], &usage["tokens_limit"]), (&json!(1), &json!(DAILY), &json!(1)));
    assert!(usage["tokens_used"].as_i64() > Some(1), "{usage}");
}

/// Fault 3: Postgres is down at a post.
pub async fn a_post_while_postgres_is_down_is_refused_and_leaves_nothing(stack: &Stack) {
    let services = Stack::services().with_own_postgres().await.unwrap();
    let stack = stack.another_on(&services, &[]).await;
    let user = stack.user().await;
    let room = user.room().await;
    let health = async || stack.send(stack.request(Method::GET, "/health")).await.status;
    assert_eq!(health().await, 200);
    let workers = without_workers(&stack).await;
    services.postgres().unwrap().stop().await.unwrap();
    assert!(stack.system.database().await.is_err());
    let refused = user.try_post(&room, "hello").await;
    assert_eq!(refused.status, 503);
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(health().await, 503, "monitors hear of it");

    services.postgres().unwrap().resume().await.unwrap();
    assert_eq!(stack.count("messages").await, 0);
    assert_eq!(user.used().await, 0);
    assert_eq!(stack.system.queue_length().await.unwrap(), 0);
    drop(workers);
    let message = user.post(&room, "hello").await;
    assert_eq!(user.settled(&message).await["status"], "answered");
}
