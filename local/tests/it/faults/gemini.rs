//! Tests faults 12 to 16: the end of a message, however Gemini fails.

use futures_util::future::join_all;
use local::{
    harness::{Stack, until},
    machine::proxy::Proxy,
};
use serde_json::{Value, json};

use crate::stops::{id, until_logged};

/// Fault 12.
pub async fn what_may_pass_is_deferred_and_asked_again_until_it_is_answered(stack: &Stack) {
    let gemini = Proxy::before(stack.system.gemini_url().unwrap()).unwrap();
    let own = stack.another(&[("GEMINI_URL", &gemini.url)]).await;
    let user = own.user().await;
    let busy = json!({ "status": 429, "retry_delay": "0.1s" });
    let storms = [
        vec![json!({ "status": 429, "retry_delay": "2s" })],
        vec![json!({ "status": 429 })],
        vec![json!({ "status": 500 })],
        vec![json!({ "status": 503 }); 2],
        // More often than a queue would deliver a message that fails.
        vec![busy; 6],
    ];
    let weather = async |(number, storm): (usize, &Vec<Value>)| {
        let prompt = format!("storm {number} {}", user.id);
        let mut storm = storm.clone();
        for outcome in &mut storm {
            outcome["match"] = json!(prompt);
        }
        stack.script(&json!(storm)).await;
        let message = user.post(&user.room().await, &prompt).await;
        assert_eq!(user.settled(&message).await["status"], "answered");
        assert_eq!(stack.calls(&prompt).await.len(), storm.len() + 1);
        message
    };
    let messages = join_all(storms.iter().enumerate().map(weather)).await;
    let kept = "not_before >= created_at + interval '2 seconds'";
    let kept = format!("messages where id = '{}' and {kept}", id(&messages[0]));
    assert_eq!(own.count(&kept).await, 1, "the delay Gemini asked for");

    gemini.cut();
    let reset = user.post(&user.room().await, "reset").await;
    let deferred = "asked > 0 and status = 'queued' and not_before is not null";
    let deferred = format!("messages where id = '{}' and {deferred}", id(&reset));
    until("it is deferred", async || own.count(&deferred).await == 1).await;
    assert!(gemini.broken() > 0);
    gemini.heal();
    assert_eq!(user.settled(&reset).await["status"], "answered");
    assert_eq!(own.system.dead_letters().await.unwrap(), [""; 0]);
    assert_eq!(user.used().await, 6);
}

/// Fault 13.
pub async fn a_message_that_gemini_is_away_for_too_long_for_fails_and_costs_nothing(stack: &Stack) {
    // Nobody listens on the discard port.
    let settings = [
        ("GEMINI_URL", "http://127.0.0.1:9"),
        ("MESSAGE_DEADLINE_SECONDS", "3"),
    ];
    let stack = stack.another(&settings).await;
    let user = stack.user().await;
    let message = user.post(&user.room().await, "hello").await;
    let settled = user.settled(&message).await;
    assert_eq!(settled["status"], "failed");
    assert_eq!(settled["failure"]["reason"], "MODEL_UNAVAILABLE");
    assert_eq!(stack.count("messages where asked > 1").await, 1);
    assert_eq!(user.used().await, 0);
}

/// Fault 14.
pub async fn an_error_of_ours_fails_the_message_after_one_call_and_raises_the_alarm(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    for status in [400, 401, 403, 404] {
        let prompt = format!("rejected {status} {}", user.id);
        stack
            .script(&json!([{ "match": prompt, "status": status }]))
            .await;
        let message = user.post(&room, &prompt).await;
        let settled = user.settled(&message).await;
        assert_eq!(
            (&settled["status"], &settled["failure"]["reason"]),
            (&json!("failed"), &json!("REJECTED"))
        );
        assert_eq!(stack.calls(&prompt).await.len(), 1);
        // What the alarm counts.
        let alarm = ["\"metric\":\"message_failed\"", id(&message)];
        until_logged(stack, stack.worker(), alarm).await;
    }
    assert_eq!(user.used().await, 0);
}

/// Fault 15.
pub async fn a_refusal_and_a_cut_reply_are_settled_with_their_reason_and_not_repeated(
    stack: &Stack,
) {
    let user = stack.user().await;
    let room = user.room().await;
    for (outcome, reason) in [
        (json!({ "block": "SAFETY" }), "SAFETY"),
        (json!({ "finish": "RECITATION" }), "RECITATION"),
        (json!({ "text": "" }), "EMPTY_ANSWER"),
        (json!({ "text": "", "finish": "MAX_TOKENS" }), "MAX_TOKENS"),
        (json!({ "finish": "SAFETY" }), "SAFETY"),
    ] {
        let prompt = format!("refused {outcome} {}", user.id);
        let mut outcome = outcome;
        outcome["match"] = json!(prompt);
        stack.script(&json!([outcome])).await;
        let message = user.post(&room, &prompt).await;
        let settled = user.settled(&message).await;
        assert_eq!(
            (&settled["status"], &settled["failure"]["reason"]),
            (&json!("failed"), &json!(reason))
        );
        assert_eq!(stack.calls(&prompt).await.len(), 1);
    }
    assert_eq!(user.used().await, 0);

    let prompt = format!("long {}", user.id);
    let outcome = json!([{ "match": prompt, "text": "Once upon", "finish": "MAX_TOKENS" }]);
    stack.script(&outcome).await;
    let message = user.post(&room, &prompt).await;
    let reply = user.settled(&message).await["reply"].clone();
    assert_eq!(
        (&reply["content"], &reply["finish_reason"]),
        (&json!("Once upon"), &json!("MAX_TOKENS"))
    );
    assert_eq!(stack.calls(&prompt).await.len(), 1);
}

/// Fault 16.
pub async fn a_broken_stream_is_never_a_reply(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let prompt = format!("broken {}", user.id);
    let outcomes =
        json!([{ "match": prompt, "cut": true }, { "match": prompt, "error_in_stream": 503 }]);
    stack.script(&outcomes).await;
    let message = user.post(&room, &prompt).await;
    let settled = user.settled(&message).await;
    assert_eq!(settled["reply"]["content"], format!("echo: {prompt}"));
    assert_eq!(stack.calls(&prompt).await.len(), 3);
}
