//! Tests faults 6 to 9 and 47: workers that come together, die or stall.

use std::process::Stdio;

use futures_util::future::{join, join_all, try_join_all};
use local_stack::{machine::workspace::Workspace, settings::Queue};
use local_suite::{
    harness::{Stack, User, until},
    proxy::Proxy,
};
use rustix::process::Signal;
use serde_json::json;
use tokio::process::Command;

use crate::stops::{
    CLAIM, Held, SETTLE, behind_proxies, content, id, kill, signal, swept, undo_waiting, until_logged,
    until_queue_is_empty, until_waiting, without_workers,
};

on_every_kind!(
    a_wake_up_that_comes_twenty_times_also_at_once_makes_one_call_at_a_time,
    a_room_whose_worker_was_killed_is_taken_over_when_the_lease_ends,
    a_stalled_worker_that_wakes_up_after_its_room_was_taken_changes_nothing,
    a_wake_up_whose_acknowledgement_was_lost_does_nothing_when_it_comes_again,
    a_message_whose_workers_all_die_is_given_up_and_its_room_goes_on,
);

on!(sqs: a_message_past_its_deadline_fails_without_another_call, a_panic_in_one_room_leaves_its_batch_answered);

/// Fault 6: a wake-up comes 20 times, also at once.
pub async fn a_wake_up_that_comes_twenty_times_also_at_once_makes_one_call_at_a_time(stack: &Stack) {
    let stack = stack.another(&[]).await;
    let user = stack.user().await;
    let room = user.room().await;
    // Longer than a lease, which is therefore prolonged.
    let slow = json!([{ "match": "many", "delay_ms": 4_000 }]);
    stack.script(&slow).await;
    user.post(&room, "many 1").await;
    let last = user.post(&room, "many 2").await;
    let prolonged = "chatrooms where epoch = 1 and answering_until > (
                       select min(created_at) + interval '4500 milliseconds' from messages)";
    until("the lease was prolonged", async || stack.count(prolonged).await == 1).await;
    let body = stack.system.wake_up(id(&room)).await.unwrap();
    let queued = join_all((0..20).map(|_| stack.system.send_to_queue(&body)));
    let at_once = join_all((0..20).map(|_| stack.system.wake(id(&room))));
    let (queued, at_once) = join(queued, at_once).await;
    assert!(queued.iter().all(Result::is_ok));
    for response in at_once {
        assert_eq!(response.unwrap()["batchItemFailures"], json!([]));
    }
    user.settled(&last).await;
    until_queue_is_empty(&stack).await;
    let first = vec!["many 1".to_owned()];
    let second = ["many 1", "echo: many 1", "many 2"].map(str::to_owned);
    assert_eq!(stack.calls("many").await, [first, second.into()]);
    assert_eq!(user.used().await, 2);
}

async fn killed_before_asking(stack: &Stack, user: &User<'_>) {
    let workers = without_workers(stack).await;
    let room = user.room().await;
    let message = user.post(&room, "before asking").await;
    let lock = Held::row(stack, &message).await;
    drop(workers);
    until_waiting(stack, CLAIM).await;
    kill(stack, stack.worker()).await;
    lock.release().await;
    // Its claim goes through, and so a dead worker holds the room.
    let held = format!("messages where id = '{}' and asked = 1", id(&message));
    until("it was claimed", async || stack.count(&held).await == 1).await;
    assert!(stack.calls("before asking").await.is_empty());

    let settled = swept(stack, user, &message).await;
    assert_eq!(settled["reply"]["content"], "echo: before asking");
    assert_eq!(stack.calls("before asking").await.len(), 1);
}

async fn killed_while_asking(stack: &Stack, user: &User<'_>) {
    let room = user.room().await;
    let hang = json!([{ "match": "while asking", "hang": true }]);
    stack.script(&hang).await;
    let message = user.post(&room, "while asking").await;
    stack.called("while asking").await;
    kill(stack, stack.worker()).await;

    let settled = swept(stack, user, &message).await;
    assert_eq!(settled["reply"]["content"], "echo: while asking");
    assert_eq!(stack.calls("while asking").await.len(), 2);
}

async fn killed_after_asking(stack: &Stack, user: &User<'_>) {
    let room = user.room().await;
    let slow = json!([{ "match": "after asking", "delay_ms": 2_500, "text": "lost" }]);
    stack.script(&slow).await;
    let message = user.post(&room, "after asking").await;
    stack.called("after asking").await;
    let lock = Held::row(stack, &message).await;
    until_waiting(stack, SETTLE).await;
    kill(stack, stack.worker()).await;
    undo_waiting(stack, SETTLE).await;
    assert_eq!(user.get(&message).await.body["status"], "answering");
    lock.release().await;

    let settled = swept(stack, user, &message).await;
    assert_eq!(settled["reply"]["content"], "echo: after asking");
    assert_eq!(stack.calls("after asking").await.len(), 2);
}

/// Fault 7: a worker is killed before asking, while asking, before settling.
pub async fn a_room_whose_worker_was_killed_is_taken_over_when_the_lease_ends(stack: &Stack) {
    let stack = stack.another(&[]).await;
    let user = stack.user().await;
    killed_before_asking(&stack, &user).await;
    killed_while_asking(&stack, &user).await;
    killed_after_asking(&stack, &user).await;
    assert_eq!(user.used().await, 3);
}

/// Fault 8: a stalled worker wakes up after another took its room.
pub async fn a_stalled_worker_that_wakes_up_after_its_room_was_taken_changes_nothing(stack: &Stack) {
    let stack = stack.another(&[]).await;
    let user = stack.user().await;
    let room = user.room().await;
    let outcomes = json!([{ "delay_ms": 2_000, "text": "late" }, { "delay_ms": 2_000, "text": "in time" }]);
    stack.script(&outcomes).await;
    let message = user.post(&room, "stall").await;
    stack.called("stall").await;
    let stalled = stack.system.pids(stack.worker());
    signal(&stalled, Signal::STOP);

    stack.execute("update chatrooms set answering_until = now()").await;
    // The stopped process of a queue in Redis is the only one that Lambda would run.
    let _another = (stack.settings.queue == Queue::Redis).then(|| {
        Command::new(Workspace::find().unwrap().binary("message-drain"))
            .envs(stack.system.variables())
            .env_remove("AWS_LAMBDA_RUNTIME_API")
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    });
    until("another worker asks", async || {
        stack.system.run_schedule("message-sweep").await.unwrap();
        stack.calls("stall").await.len() > 1
    })
    .await;

    signal(&stalled, Signal::CONT);
    let dropped = ["the room was taken over", id(&message)];
    until_logged(&stack, stack.worker(), dropped).await;
    assert_eq!(user.reply(&message).await, "in time");
    assert_eq!(stack.calls("stall").await.len(), 2);
    assert_eq!(user.used().await, 1);
}

/// Fault 9: settled, but the acknowledgement is lost.
pub async fn a_wake_up_whose_acknowledgement_was_lost_does_nothing_when_it_comes_again(stack: &Stack) {
    let (stack, lines) = behind_proxies(stack).await;
    let user = stack.user().await;
    let room = user.room().await;
    let slow = json!([{ "match": "acknowledged late", "delay_ms": 1_500 }]);
    stack.script(&slow).await;
    let first = user.post(&room, "acknowledged late").await;
    let second = user.post(&room, "held back").await;
    stack.called("acknowledged late").await;
    // Having settled the first, the worker waits for the queue to take a wake-up for the second.
    lines.iter().for_each(Proxy::fall_silent);
    until("the first is settled", async || user.get(&first).await.body["status"] == "answered").await;
    kill(&stack, stack.worker()).await;
    lines.iter().for_each(Proxy::heal);
    assert!(stack.system.queue_length().await.unwrap() > 0);

    let stored = content(&stack, &first).await;
    let wake_up = stack.system.wake_up(id(&room)).await.unwrap();
    stack.system.send_to_queue(&wake_up).await.unwrap();
    swept(&stack, &user, &second).await;
    let stored = [stored, content(&stack, &second).await];
    stack.system.send_to_queue(&wake_up).await.unwrap();
    stack.system.wake(id(&room)).await.unwrap();
    let now = [content(&stack, &first).await, content(&stack, &second).await];
    assert_eq!(now, stored);
    assert_eq!(stack.calls("acknowledged late").await.len(), 1);
    assert_eq!(stack.calls("held back").await.len(), 1);
    assert_eq!(user.used().await, 2);
}

/// Fault 47: a message's workers die or panic each time.
pub async fn a_message_whose_workers_all_die_is_given_up_and_its_room_goes_on(stack: &Stack) {
    const TRIES: usize = 8;
    let stack = stack.another(&[("ANSWER_LEASE_SECONDS", "1")]).await;
    let user = stack.user().await;
    let room = user.room().await;
    let hang = json!({ "match": "poison", "hang": true });
    stack.script(&json!(vec![hang; 2 * TRIES])).await;
    let poison = user.post(&room, "poison").await;
    let next = user.post(&room, "next").await;
    for tries in 1..=TRIES {
        until("a worker asks", async || {
            let _ = stack.system.run_schedule("message-sweep").await;
            stack.calls("poison").await.len() == tries
        })
        .await;
        kill(&stack, stack.worker()).await;
    }
    let settled = swept(&stack, &user, &poison).await;
    assert_eq!(settled["failure"]["reason"], "GIVEN_UP");
    assert_eq!(stack.calls("poison").await.len(), TRIES);
    let alarm = ["\"metric\":\"message_failed\"", id(&poison)];
    until_logged(&stack, stack.worker(), alarm).await;
    assert_eq!(user.reply(&next).await, "echo: next");
    assert_eq!(user.used().await, 1, "what was our fault is free");
}

/// Fault 47: of a message that nobody waits for any more.
pub async fn a_message_past_its_deadline_fails_without_another_call(stack: &Stack) {
    let stack = stack.another(&[]).await;
    let user = stack.user().await;
    let workers = without_workers(&stack).await;
    let message = user.post(&user.room().await, "too late").await;
    stack.execute("update messages set claimed_at = now() - interval '1 hour'").await;
    drop(workers);
    let settled = user.settled(&message).await;
    assert_eq!(settled["failure"]["reason"], "MODEL_UNAVAILABLE");
    assert_eq!(stack.calls("too late").await.len(), 0);
    assert_eq!(user.used().await, 0);
}

/// Fault 47: in the batch of a consumer.
pub async fn a_panic_in_one_room_leaves_its_batch_answered(stack: &Stack) {
    let stack = stack.another(&[]).await;
    stack.may_panic();
    let user = stack.user().await;
    let workers = without_workers(&stack).await;
    let (mut rooms, mut messages) = (Vec::new(), Vec::new());
    for prompt in ["one", "poison", "three"] {
        let room = user.room().await;
        messages.push(user.post(&room, prompt).await);
        rooms.push(room);
    }
    // A row that the schema forbids, which no worker can read.
    stack.execute("alter table messages alter content drop not null").await;
    stack.execute("update messages set content = null where content = 'poison'").await;

    assert_eq!(stack.system.lose_messages().await.unwrap(), rooms.len());
    let bodies = try_join_all(rooms.iter().map(|room| stack.system.wake_up(id(room)))).await.unwrap();
    let delivered = stack.system.deliver(&bodies).await.unwrap();
    assert_eq!(delivered["batchItemFailures"], json!([]));
    for message in [&messages[0], &messages[2]] {
        assert_eq!(user.get(message).await.body["status"], "answered");
    }
    let alarm = ["\"metric\":\"room_panicked\"", id(&rooms[1])];
    until_logged(&stack, stack.worker(), alarm).await;
    drop(workers);
}
