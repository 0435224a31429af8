//! Fault 60: a reply is to stop where it is.

use std::time::Duration;

use local_suite::harness::{Stack, User, until};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    client::{Client, Ended, Stream, open, post},
    live::TEXT,
};
use crate::stops::{kill, without_workers};

on_every_kind!(
    a_message_that_waits_fails_and_costs_nothing,
    a_queued_reply_that_is_stopped_ends_with_its_draft,
    a_reply_that_is_streamed_ends_with_what_its_client_has,
    a_reply_without_a_word_yet_fails_and_counts,
    a_stop_while_the_worker_is_dead_ends_with_its_draft_and_no_second_call,
);

async fn stop(user: &User<'_>, message: &str) -> Value {
    user.call(Method::POST, &format!("{message}/stop"), 200).await
}

/// A reply of which the model has written the first piece, and that does not go on by itself.
async fn begun(stack: &Stack, user: &User<'_>, room: &str, prompt: &str) -> (Stream, Client) {
    let hang = json!([{ "match": prompt, "text": TEXT, "pieces": 2, "hang": true }]);
    stack.script(&hang).await;
    let mut stream = open(post(user, room, prompt, None)).await;
    let mut client = Client::default();
    client.read_some(&mut stream).await;
    (stream, client)
}

/// A message that was stopped is answered with what its client has, and counts.
async fn is_stopped(user: &User<'_>, message: &str, client: &Client) {
    let stopped = user.get(message).await.expect(200);
    assert_eq!(stopped["status"], "answered");
    assert_eq!(stopped["reply"]["finish_reason"], "STOPPED");
    assert_eq!(stopped["reply"]["content"], *client.text);
    let abort = json!({ "type": "abort", "reason": "STOPPED" });
    assert_eq!(client.events.last(), Some(&abort));
    // Whatever is settled stays as it is.
    assert_eq!(stop(user, message).await, stopped);
    assert_eq!(user.used().await, 1);
}

/// Fault 60: a stop: queued, answering, during a takeover, twice, after the end.
pub async fn a_message_that_waits_fails_and_costs_nothing(stack: &Stack) {
    let stack = stack.another(&[]).await;
    let user = stack.user().await;
    let room = user.room().await;
    let workers = without_workers(&stack).await;
    let message = user.post(&room, "waits").await;
    let stopped = stop(&user, &message).await;
    assert_eq!(stopped["status"], "failed");
    assert_eq!(stopped["failure"]["reason"], "STOPPED");
    assert_eq!(stop(&user, &message).await, stopped);
    assert_eq!(user.used().await, 0);
    drop(workers);

    let next = user.post(&room, "next").await;
    assert_eq!(user.reply(&next).await, "echo: next");
    assert_eq!(user.get(&message).await.expect(200), stopped);
    assert!(stack.calls("waits").await.is_empty());
}

/// Fault 60: a stop: queued, answering, during a takeover, twice, after the end.
pub async fn a_reply_that_is_streamed_ends_with_what_its_client_has(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let prompt = format!("stop {}", user.id);
    let (mut stream, mut client) = begun(stack, &user, &room, &prompt).await;
    let message = client.message(&room);
    for _ in 0..2 {
        assert_eq!(stop(&user, &message).await["status"], "answering");
    }
    assert_eq!(client.read(&mut stream).await, Ended::Done);
    is_stopped(&user, &message, &client).await;
    assert_eq!(stack.calls(&prompt).await.len(), 1);
}

/// Fault 60: a stop: queued, answering, during a takeover, twice, after the end.
pub async fn a_queued_reply_that_is_stopped_ends_with_its_draft(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let prompt = format!("stop later {}", user.id);
    let hang = json!([{ "match": prompt, "text": TEXT, "pieces": 2, "hang": true }]);
    stack.script(&hang).await;
    let message = user.post(&room, &prompt).await;
    until("there is a draft", async || user.get(&message).await.expect(200)["draft"].is_string()).await;
    stop(&user, &message).await;
    let mut client = Client::of(&message);
    client.follow(&user, &room).await;
    is_stopped(&user, &message, &client).await;
    assert_eq!(stack.calls(&prompt).await.len(), 1);
}

/// Fault 60: a stop: queued, answering, during a takeover, twice, after the end.
pub async fn a_reply_without_a_word_yet_fails_and_counts(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let prompt = format!("no word {}", user.id);
    stack.script(&json!([{ "match": prompt, "delay_ms": 60_000 }])).await;
    let mut stream = open(post(&user, &room, &prompt, None)).await;
    let mut client = Client::default();
    client.take(stream.next().await.unwrap());
    stack.called(&prompt).await;
    let message = client.message(&room);
    stop(&user, &message).await;
    assert_eq!(client.read(&mut stream).await, Ended::Done);
    assert_eq!(client.last(), "abort");
    let stopped = user.get(&message).await.expect(200);
    assert_eq!(stopped["failure"]["reason"], "STOPPED");
    assert_eq!(user.used().await, 1);
}

/// Fault 60: a stop: queued, answering, during a takeover, twice, after the end.
pub async fn a_stop_while_the_worker_is_dead_ends_with_its_draft_and_no_second_call(stack: &Stack) {
    let stack = stack.another(&[]).await;
    stack.system.hide_logs();
    let user = stack.user().await;
    let room = user.room().await;
    let (stream, mut client) = begun(&stack, &user, &room, "takeover").await;
    let message = client.message(&room);
    until("the draft is stored", async || user.get(&message).await.expect(200)["draft"] == *client.text).await;
    kill(&stack, "message-stream").await;
    assert_eq!(stream.rest().await.1, Ended::Early);
    assert_eq!(stop(&user, &message).await["status"], "answering");

    tokio::time::sleep(Duration::from_millis(100)).await;
    client.follow(&user, &room).await;
    is_stopped(&user, &message, &client).await;
    assert_eq!(stack.calls("takeover").await.len(), 1);
}
