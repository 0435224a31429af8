//! Tests faults 10, 11 and 18: rooms that are answered side by side, each in order.

use futures_util::{
    future::{join_all, try_join_all},
    join,
};
use local::{harness::Stack, settings::Queue};
use serde_json::json;

use crate::stops::{DEFER, Held, id, swept, until_logged, until_waiting, without_workers};

/// Fault 10.
pub async fn ten_quick_posts_are_answered_in_order_each_with_all_earlier_turns(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let tag = format!("in order {}", user.id);
    let mut last = String::new();
    for number in 0..10 {
        last = user.post(&room, &format!("{tag} {number}")).await;
    }
    user.settled(&last).await;
    let calls = stack.calls(&tag).await;
    assert_eq!(calls.len(), 10);
    for (number, turns) in calls.iter().enumerate() {
        let earlier = (0..number).flat_map(|n| [format!("{tag} {n}"), format!("echo: {tag} {n}")]);
        let expected: Vec<_> = earlier.chain([format!("{tag} {number}")]).collect();
        assert_eq!(*turns, expected);
    }
}

/// Fault 11.
pub async fn a_call_that_hangs_holds_up_no_other_room_and_is_deferred_at_its_deadline(
    stack: &Stack,
) {
    let stack = stack.another(&[("ANSWER_TIMEOUT_SECONDS", "2")]).await;
    let user = stack.user().await;
    let hang = json!([{ "match": "stuck", "hang": true }]);
    stack.script(&hang).await;
    let workers = without_workers(&stack).await;
    let mut rooms = vec![user.room().await];
    let stuck = user.post(&rooms[0], "stuck").await;
    let mut others = Vec::new();
    for number in 0..4 {
        let room = user.room().await;
        others.push(user.post(&room, &format!("other {number}")).await);
        rooms.push(room);
    }
    // One batch, so that one worker has them all.
    let batch = async {
        if stack.settings.queue == Queue::Redis {
            drop(workers);
            return;
        }
        assert_eq!(stack.system.lose_messages().await.unwrap(), rooms.len());
        let wake_ups = rooms.iter().map(|room| stack.system.wake_up(id(room)));
        let bodies = try_join_all(wake_ups).await.unwrap();
        let delivered = stack.system.deliver(&bodies).await.unwrap();
        assert_eq!(delivered["batchItemFailures"], json!([]));
        drop(workers);
    };
    let meanwhile = async {
        stack.called("stuck").await;
        let lock = Held::row(&stack, &stuck).await;
        for settled in join_all(others.iter().map(|other| user.settled(other))).await {
            assert_eq!(settled["status"], "answered");
        }
        assert_eq!(user.get(&stuck).await.body["status"], "answering");
        until_waiting(&stack, DEFER).await;
        lock.release().await;
    };
    join!(batch, meanwhile);
    assert_eq!(user.settled(&stuck).await["status"], "answered");
    assert_eq!(stack.calls("stuck").await.len(), 2);
    assert_eq!(user.used().await, 5);
}

/// Fault 18.
pub async fn postgres_goes_away_while_a_message_is_answered_and_there_is_one_reply(stack: &Stack) {
    let services = Stack::services().with_own_postgres().await.unwrap();
    let stack = stack.another_on(&services, &[]).await;
    let user = stack.user().await;
    let room = user.room().await;
    let slow = json!([{ "match": "away", "delay_ms": 2_000, "text": "lost" }]);
    stack.script(&slow).await;
    let message = user.post(&room, "away").await;
    stack.called("away").await;
    services.postgres().unwrap().stop().await.unwrap();
    assert!(stack.system.database().await.is_err());
    let lost = ["Postgres is unavailable", "\"level\":\"ERROR\""];
    until_logged(&stack, stack.worker(), lost).await;
    services.postgres().unwrap().resume().await.unwrap();

    let settled = swept(&stack, &user, &message).await;
    assert_eq!(settled["reply"]["content"], "echo: away");
    assert_eq!(stack.calls("away").await.len(), 2);
    assert_eq!(user.used().await, 1);
}
