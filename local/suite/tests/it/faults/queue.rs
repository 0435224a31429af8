//! Tests fault 17: messages in the queue that cannot be read.

use local_stack::settings::Queue;
use local_suite::harness::{Stack, until};
use serde_json::json;

use crate::stops::{id, without_workers};

on_every_kind!(a_message_that_cannot_be_read_is_retried_alone_and_ends_among_the_dead);

/// Fault 17: an unreadable body in the queue among good ones.
pub async fn a_message_that_cannot_be_read_is_retried_alone_and_ends_among_the_dead(stack: &Stack) {
    const POISON: [&str; 3] = ["no wake-up", "{}", "{\"chatroom_id\":7}"];

    let stack = stack.another(&[]).await;
    let user = stack.user().await;
    let workers = without_workers(&stack).await;
    let rooms = [user.room().await, user.room().await, user.room().await];
    let mut good = Vec::new();
    for (room, poison) in rooms.iter().zip(POISON) {
        good.push(user.post(room, "hello").await);
        stack.system.send_to_queue(poison).await.unwrap();
    }
    assert_eq!(stack.system.queue_length().await.unwrap(), 6);
    drop(workers);
    for message in &good {
        assert_eq!(user.settled(message).await["status"], "answered");
    }
    let dead = async || {
        let mut dead = stack.system.dead_letters().await.unwrap();
        dead.sort_unstable();
        let mut poison = POISON.map(str::to_owned);
        poison.sort_unstable();
        dead == poison
    };
    until("they are dead, and nothing else is", dead).await;
    assert_eq!(stack.calls("hello").await.len(), 3);
    assert_eq!(stack.system.queue_length().await.unwrap(), 0);

    if stack.settings.queue == Queue::Sqs {
        let wake_up = async |room: &String| stack.system.wake_up(id(room)).await.unwrap();
        let batch = [wake_up(&rooms[0]).await, POISON[0].to_owned(), wake_up(&rooms[1]).await];
        let response = stack.system.deliver(&batch).await.unwrap();
        let failed = json!([{ "itemIdentifier": "1" }]);
        assert_eq!(response["batchItemFailures"], failed);
    }
}
