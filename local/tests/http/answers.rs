//! How messages are answered, whatever happens to Gemini and to the workers.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::stack::Stack;

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

pub async fn a_killed_workers_room_is_taken_over(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let prompt = format!("killed {}", user.id);
    stack
        .system
        .script(&json!([{ "match": prompt, "hang": true }]))
        .await
        .unwrap();
    let message = user.post(&room, &prompt).await;
    stack.called(&prompt).await;
    assert!(stack.system.kill(stack.worker).unwrap() > 0);

    let settled = user.settled(&message).await;
    assert_eq!(settled["reply"]["content"], format!("echo: {prompt}"));
    assert_eq!(stack.calls(&prompt).await.len(), 2);
    assert_eq!(user.used().await, 1);
}

pub async fn a_message_whose_wake_up_was_lost_is_swept(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    // As a crash leaves it, after the commit and before the wake-up.
    let id = room.rsplit('/').next().unwrap();
    let message = "019b0000-0000-7000-8000-".to_owned() + &user.id[24..];
    let sql = format!(
        "with place as (update chatrooms set last_position = 1 where id = '{id}')
         insert into messages (id, chatroom_id, user_id, position, content, created_at)
         values ('{message}', '{id}', '{}', 1, 'lost', now() - interval '40 seconds')",
        user.id
    );
    stack
        .system
        .database()
        .await
        .unwrap()
        .execute(&sql, &[])
        .await
        .unwrap();
    let settled = user.settled(&format!("{room}/message/{message}")).await;
    assert_eq!(settled["reply"]["content"], "echo: lost");
}

pub async fn a_storm_of_503_ends_answered(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let prompt = format!("storm {}", user.id);
    let overloaded = json!({ "match": prompt, "status": 503 });
    stack
        .system
        .script(&json!([overloaded, overloaded, overloaded]))
        .await
        .unwrap();
    let message = user.post(&room, &prompt).await;
    assert_eq!(user.settled(&message).await["status"], "answered");
    assert_eq!(stack.calls(&prompt).await.len(), 4);
    assert_eq!(user.used().await, 1);
}

pub async fn the_delay_that_gemini_asks_for_is_kept(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let prompt = format!("busy {}", user.id);
    stack
        .system
        .script(&json!([{ "match": prompt, "status": 429, "retry_delay": "4s" }]))
        .await
        .unwrap();
    let start = Instant::now();
    let message = user.post(&room, &prompt).await;
    assert_eq!(user.settled(&message).await["status"], "answered");
    assert!(start.elapsed() >= Duration::from_secs(4));
    assert_eq!(stack.calls(&prompt).await.len(), 2);
}

pub async fn a_permanent_error_ends_failed_and_gives_the_quota_back(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    for status in [400, 401, 403, 404] {
        let prompt = format!("rejected {status} {}", user.id);
        stack
            .system
            .script(&json!([{ "match": prompt, "status": status }]))
            .await
            .unwrap();
        let message = user.post(&room, &prompt).await;
        let settled = user.settled(&message).await;
        assert_eq!(
            (&settled["status"], &settled["failure"]["reason"]),
            (&json!("failed"), &json!("REJECTED"))
        );
        assert_eq!(stack.calls(&prompt).await.len(), 1);
    }
    assert_eq!(user.used().await, 0);
}

pub async fn a_refusal_is_settled_with_its_reason_and_not_repeated(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    for (outcome, reason) in [
        (json!({ "block": "SAFETY" }), "SAFETY"),
        (json!({ "finish": "RECITATION" }), "RECITATION"),
        (json!({ "text": "" }), "EMPTY_ANSWER"),
    ] {
        let prompt = format!("refused {reason} {}", user.id);
        let mut outcome = outcome;
        outcome["match"] = json!(prompt);
        stack.system.script(&json!([outcome])).await.unwrap();
        let message = user.post(&room, &prompt).await;
        let settled = user.settled(&message).await;
        assert_eq!(
            (&settled["status"], &settled["failure"]["reason"]),
            (&json!("failed"), &json!(reason))
        );
        assert_eq!(stack.calls(&prompt).await.len(), 1);
    }
    assert_eq!(user.used().await, 0);
}

pub async fn a_broken_stream_is_never_an_answer(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let prompt = format!("broken {}", user.id);
    let outcomes =
        json!([{ "match": prompt, "cut": true }, { "match": prompt, "error_in_stream": 503 }]);
    stack.system.script(&outcomes).await.unwrap();
    let message = user.post(&room, &prompt).await;
    let settled = user.settled(&message).await;
    assert_eq!(settled["reply"]["content"], format!("echo: {prompt}"));
    assert_eq!(stack.calls(&prompt).await.len(), 3);
}

pub async fn an_answer_that_is_cut_at_the_limit_says_so(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let prompt = format!("long {}", user.id);
    let outcome = json!([{ "match": prompt, "text": "Once upon", "finish": "MAX_TOKENS" }]);
    stack.system.script(&outcome).await.unwrap();
    let message = user.post(&room, &prompt).await;
    let reply = user.settled(&message).await["reply"].clone();
    assert_eq!(
        (&reply["content"], &reply["finish_reason"]),
        (&json!("Once upon"), &json!("MAX_TOKENS"))
    );
}
