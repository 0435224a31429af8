//! The consumer that takes wake-ups itself, as a plain process and through an outage of its queue.

use std::{process::Stdio, time::Duration};

use futures_util::future::join_all;
use local_stack::machine::workspace::Workspace;
use local_suite::harness::Stack;
use rustix::process::{Signal, kill_process};
use serde_json::json;
use tokio::{process::Command, time::sleep};

use crate::stops::process;

on_every_kind!(a_plain_process_drains_the_queue_and_finishes_what_it_began_when_told_to_stop);

on!(redis: redis_stops_for_five_seconds_in_the_middle_of_fifty_conversations_and_every_message_is_answered);

pub async fn a_plain_process_drains_the_queue_and_finishes_what_it_began_when_told_to_stop(stack: &Stack) {
    let stack = stack.another(&[]).await;
    let user = stack.user().await;
    let room = user.room().await;
    // From here on, nobody but the process takes wake-ups.
    let _deliveries = stack.system.deliveries().pause().await;
    let _schedules = stack.system.schedules().pause().await;
    stack.system.kill("message-drain").unwrap();

    let mut drain = Command::new(Workspace::find().unwrap().binary("message-drain"))
        .envs(stack.system.variables())
        .env_remove("AWS_LAMBDA_RUNTIME_API")
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let message = user.post(&room, "hello").await;
    user.reply(&message).await;

    stack.script(&json!([{ "match": "slow", "delay_ms": 2_000 }])).await;
    let message = user.post(&room, "slow").await;
    stack.called("slow").await;
    kill_process(process(drain.id().unwrap()), Signal::TERM).unwrap();
    let status = drain.wait().await.unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(user.get(&message).await.body["status"], "answered");
}

pub async fn redis_stops_for_five_seconds_in_the_middle_of_fifty_conversations_and_every_message_is_answered(
    stack: &Stack,
) {
    let services = Stack::services().with_own_redis().await.unwrap();
    let stack = stack.another_on(&services, &[]).await;
    let users = join_all((0..50).map(|_| stack.user())).await;
    let conversations = users.iter().map(async |user| {
        let room = user.room().await;
        for number in 0..4 {
            let content = format!("{number} of {}", user.id);
            let message = user.post(&room, &content).await;
            assert_eq!(user.reply(&message).await, format!("echo: {content}"));
        }
    });
    let outage = async {
        sleep(Duration::from_secs(1)).await;
        services.redis().unwrap().stop().await.unwrap();
        sleep(Duration::from_secs(5)).await;
        services.redis().unwrap().resume().await.unwrap();
    };
    tokio::join!(join_all(conversations), outage);
    for user in &users {
        assert_eq!(user.used().await, 4);
    }
}
