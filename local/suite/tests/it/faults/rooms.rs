//! Tests faults 10, 11, 18 and 46: rooms that are answered side by side, each in order.

use futures_util::{
    future::{join_all, try_join_all},
    join,
};
use local_stack::settings::Queue;
use local_suite::harness::{Stack, until};
use serde_json::json;

use crate::stops::{DEFER, Held, id, swept, until_logged, until_waiting, without_workers};

on_every_kind!(
    as_many_busy_rooms_as_there_are_consumers_keep_no_stranger_waiting,
    a_stop_ends_a_reply_where_it_is_and_before_its_first_word_fails_it,
    ten_quick_posts_are_answered_in_order_each_with_all_earlier_turns,
    a_call_that_hangs_holds_up_no_other_room_and_is_deferred_at_its_deadline,
    postgres_goes_away_while_a_message_is_answered_and_there_is_one_reply,
);

on!(redis: a_strangers_message_comes_next_however_many_rooms_another_user_has_waiting);

/// Fault 10: ten messages posted quickly to one room.
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

/// Fault 11: one room's call of Gemini hangs.
pub async fn a_call_that_hangs_holds_up_no_other_room_and_is_deferred_at_its_deadline(stack: &Stack) {
    let stack = stack.another(&[("ANSWER_TIMEOUT_SECONDS", "2")]).await;
    let user = stack.user().await;
    let hang = json!([{ "match": "stuck", "hang": true, "text": "" }]);
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

/// Fault 18: Postgres goes away while a message is answered.
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

/// Fault 46: rooms with a backlog hold no consumer.
pub async fn as_many_busy_rooms_as_there_are_consumers_keep_no_stranger_waiting(stack: &Stack) {
    // As many as `message-answer` has environments.
    const CONSUMERS: usize = 4;
    const BACKLOG: usize = 6;
    let stack = stack.another(&[("BASIC_DAILY_MESSAGES", "1000")]).await;
    let (flood, stranger) = (stack.user().await, stack.user().await);
    let slow = json!({ "match": "flood", "delay_ms": 1_000 });
    stack.script(&json!(vec![slow; 2 * CONSUMERS * BACKLOG])).await;
    let room = stranger.room().await;
    let mut rooms = Vec::new();
    for number in 0..CONSUMERS {
        // Each is asked before the next is posted, so that each has a consumer of its own.
        let prompt = format!("flood {number}");
        rooms.push(flood.room().await);
        flood.post(&rooms[number], &prompt).await;
        stack.called(&prompt).await;
    }
    for number in 1..BACKLOG {
        for room in &rooms {
            flood.post(room, &format!("flood {number}")).await;
        }
    }
    let message = stranger.post(&room, "only one").await;
    stranger.settled(&message).await;
    let before = "messages of_flood, messages single
                  where of_flood.content like 'flood%' and single.content = 'only one'
                    and of_flood.settled_at < single.settled_at and of_flood.settled_at > single.created_at";
    // What was being asked already, and one turn of each room.
    let before = stack.count(before).await;
    assert!(before <= 2 * i64::try_from(CONSUMERS).unwrap(), "{before} came first");
}

/// Fault 46: a backlog in many rooms, in a queue that gives turns.
pub async fn a_strangers_message_comes_next_however_many_rooms_another_user_has_waiting(stack: &Stack) {
    const ROOMS: usize = 60;
    const BACKLOG: usize = 3;
    let stack = stack.another(&[("BASIC_DAILY_MESSAGES", "1000")]).await;
    let (flood, stranger) = (stack.user().await, stack.user().await);
    let slow = json!({ "match": "flood", "delay_ms": 500 });
    stack.script(&json!(vec![slow; ROOMS * BACKLOG])).await;
    let workers = without_workers(&stack).await;
    let rooms = join_all((0..ROOMS).map(|_| flood.room())).await;
    for number in 0..BACKLOG {
        join_all(rooms.iter().map(async |room| flood.post(room, &format!("flood {number}")).await)).await;
    }
    let message = stranger.post(&stranger.room().await, "only one").await;
    drop(workers);
    stranger.settled(&message).await;
    let before = "messages of_flood, messages single
                  where of_flood.content like 'flood%' and single.content = 'only one'
                    and of_flood.settled_at < single.settled_at";
    // Its turn is the first, with those that begin at once.
    let before = stack.count(before).await;
    assert!(before <= 50, "{before} of {} came first", ROOMS * BACKLOG);
}

/// A reply that is to stop ends with what there is of it.
pub async fn a_stop_ends_a_reply_where_it_is_and_before_its_first_word_fails_it(stack: &Stack) {
    let stack = stack.another(&[]).await;
    let user = stack.user().await;
    let script = json!([
        { "match": "begun", "text": "Once upon a time", "hang": true },
        { "match": "silent", "delay_ms": 20_000 },
    ]);
    stack.script(&script).await;
    let begun = user.post(&user.room().await, "begun").await;
    until("the draft is stored", async || stack.count("messages where draft = 'Once upo'").await == 1).await;
    let silent = user.post(&user.room().await, "silent").await;
    stack.called("silent").await;
    stack.execute("update messages set stop_requested_at = now()").await;

    let settled = user.settled(&begun).await;
    let reply = &settled["reply"];
    assert_eq!(
        (&reply["content"], &reply["finish_reason"], &reply["model"]),
        (&json!("Once upo"), &json!("STOPPED"), &json!("gemini-3.8-flash"))
    );
    let settled = user.settled(&silent).await;
    assert_eq!(settled["failure"]["reason"], "STOPPED");
    assert_eq!(user.used().await, 2, "what was asked counts");
}
