//! Tests faults 12 to 16, 43, 48, 49 and 58: the end of a message, however Gemini fails.

use futures_util::future::join_all;
use local_suite::{
    harness::{Stack, User, until},
    proxy::Proxy,
};
use serde_json::{Value, json};

use crate::{
    stacks::DAILY,
    stops::{id, until_logged},
};

on_every_kind!(what_may_pass_is_deferred_and_asked_again_until_it_is_answered);

on!(sqs:
    a_message_that_gemini_is_away_for_too_long_for_fails_and_costs_nothing,
    an_error_of_ours_fails_the_message_after_one_call_and_is_logged,
    refused_messages_count_against_the_day,
    an_endless_reply_is_cut_at_a_megabyte_and_takes_no_memory,
    a_reply_that_never_begins_is_tried_twice,
    a_reply_that_takes_too_long_is_kept_as_far_as_it_came,
    gemini_is_told_how_much_to_write_and_to_think,
);

on!(redis:
    a_refusal_and_a_cut_reply_are_settled_with_their_reason_and_not_repeated,
    a_broken_stream_is_never_a_reply,
    a_retry_delay_that_makes_no_sense_is_bounded,
    each_way_in_which_gemini_fails_is_met_in_its_own_way,
    after_two_overloads_the_fallback_is_asked_and_named,
);

/// Fault 12: Gemini: 429, 500, 503, connection reset.
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

/// Fault 13: Gemini is down for longer than a message's deadline.
pub async fn a_message_that_gemini_is_away_for_too_long_for_fails_and_costs_nothing(stack: &Stack) {
    // Nobody listens on the discard port.
    let settings = [("GEMINI_URL", "http://127.0.0.1:9"), ("MESSAGE_DEADLINE_SECONDS", "3")];
    let stack = stack.another(&settings).await;
    let user = stack.user().await;
    let message = user.post(&user.room().await, "hello").await;
    let settled = user.settled(&message).await;
    assert_eq!(settled["status"], "failed");
    assert_eq!(settled["failure"]["reason"], "MODEL_UNAVAILABLE");
    assert_eq!(stack.count("messages where asked > 1").await, 1);
    assert_eq!(user.used().await, 0);
}

/// Fault 14: Gemini: 400, 401, 403, 404.
pub async fn an_error_of_ours_fails_the_message_after_one_call_and_is_logged(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    for status in [400, 401, 403, 404] {
        let prompt = format!("rejected {status} {}", user.id);
        stack.script(&json!([{ "match": prompt, "status": status }])).await;
        let message = user.post(&room, &prompt).await;
        let settled = user.settled(&message).await;
        let reason = if status == 404 { "MODEL_UNAVAILABLE" } else { "REJECTED" };
        assert_eq!((&settled["status"], &settled["failure"]["reason"]), (&json!("failed"), &json!(reason)));
        assert_eq!(stack.calls(&prompt).await.len(), 1);
        // What the alarm counts.
        let alarm = ["\"metric\":\"message_failed\"", id(&message)];
        until_logged(stack, stack.worker(), alarm).await;
    }
    assert_eq!(user.used().await, 0);
}

/// Fault 15: a blocked prompt, SAFETY, an empty reply, `MAX_TOKENS`.
pub async fn a_refusal_and_a_cut_reply_are_settled_with_their_reason_and_not_repeated(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    for (outcome, reason) in [
        (json!({ "block": "SAFETY" }), "SAFETY"),
        (json!({ "text": "", "finish": "RECITATION" }), "RECITATION"),
        (json!({ "text": "", "finish": "MAX_TOKENS" }), "MAX_TOKENS"),
        (json!({ "finish": "SAFETY" }), "SAFETY"),
    ] {
        let prompt = format!("refused {outcome} {}", user.id);
        let mut outcome = outcome;
        outcome["match"] = json!(prompt);
        stack.script(&json!([outcome])).await;
        let message = user.post(&room, &prompt).await;
        let settled = user.settled(&message).await;
        assert_eq!((&settled["status"], &settled["failure"]["reason"]), (&json!("failed"), &json!(reason)));
        assert_eq!(stack.calls(&prompt).await.len(), 1);
    }
    assert_eq!(user.used().await, 3, "a refusal counts, a reply that was all thoughts does not");

    let prompt = format!("long {}", user.id);
    let outcome = json!([{ "match": prompt, "text": "Once upon", "finish": "MAX_TOKENS" }]);
    stack.script(&outcome).await;
    let message = user.post(&room, &prompt).await;
    let reply = user.settled(&message).await["reply"].clone();
    assert_eq!((&reply["content"], &reply["finish_reason"]), (&json!("Once upon"), &json!("MAX_TOKENS")));
    assert_eq!(stack.calls(&prompt).await.len(), 1);
}

/// Fault 16: a stream that is cut, or has an error inside.
pub async fn a_broken_stream_is_never_a_reply(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let prompt = format!("broken {}", user.id);
    let outcomes = json!([{ "match": prompt, "cut": true }, { "match": prompt, "error_in_stream": 503 }]);
    stack.script(&outcomes).await;
    let message = user.post(&room, &prompt).await;
    let settled = user.settled(&message).await;
    assert_eq!(settled["reply"]["content"], format!("echo: {prompt}"));
    assert_eq!(stack.calls(&prompt).await.len(), 3);
}

/// Posts a message that gets these outcomes, and gives it settled, with how often Gemini was called.
async fn settled_after(stack: &Stack, user: &User<'_>, prompt: &str, outcomes: &[Value]) -> (Value, usize) {
    let prompt = format!("{prompt} {}", user.id);
    let mut outcomes = outcomes.to_vec();
    for outcome in &mut outcomes {
        outcome["match"] = json!(prompt);
    }
    stack.script(&json!(outcomes)).await;
    let message = user.post(&user.room().await, &prompt).await;
    let settled = user.settled(&message).await;
    (settled, stack.calls(&prompt).await.len())
}

/// Fault 43: 40 prompts that the model refuses.
pub async fn refused_messages_count_against_the_day(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let prompt = format!("refused {}", user.id);
    let block = json!({ "match": prompt, "block": "SAFETY" });
    stack.script(&json!(vec![block; 40])).await;
    let posts = (0..40).map(async |_| user.try_post(&room, &prompt).await);
    let posts = join_all(posts).await;
    let accepted = posts.iter().filter(|post| post.status == 202);
    for post in accepted.clone() {
        user.settled(&post.location()).await;
    }
    assert_eq!(accepted.count(), usize::try_from(DAILY).unwrap());
    assert_eq!(user.try_post(&room, &prompt).await.status, 429);
    assert_eq!(user.used().await, DAILY);
}

/// Fault 48: a retry delay of 1e19 s, negative, "0s", no number.
pub async fn a_retry_delay_that_makes_no_sense_is_bounded(stack: &Stack) {
    let user = stack.user().await;
    for delay in ["0s", "-1s", "soon", "1e400s"] {
        let busy = json!({ "status": 429, "retry_delay": delay });
        let (settled, calls) = settled_after(stack, &user, delay, &[busy]).await;
        assert_eq!((&settled["status"], calls), (&json!("answered"), 2));
        // Half a second at least, so that it is no busy loop.
        let waited = format!(
            "messages where id = {} and not_before >= claimed_at + interval '500 milliseconds'",
            settled["id"].to_string().replace('"', "'")
        );
        assert_eq!(stack.count(&waited).await, 1, "{delay}");
    }
    // Longer than anybody waits.
    let busy = json!({ "status": 429, "retry_delay": "1e19s" });
    let (settled, calls) = settled_after(stack, &user, "1e19s", &[busy]).await;
    assert_eq!((&settled["failure"]["reason"], calls), (&json!("MODEL_UNAVAILABLE"), 1));
    assert_eq!(user.used().await, 4);
}

/// Fault 49: an endless reply.
pub async fn an_endless_reply_is_cut_at_a_megabyte_and_takes_no_memory(stack: &Stack) {
    let user = stack.user().await;
    settled_after(stack, &user, "short", &[json!({ "text": "short" })]).await;
    let before = peak_memory(stack);
    let endless = json!({ "text": "é".repeat(10_000), "endless": true });
    let (settled, calls) = settled_after(stack, &user, "endless", &[endless]).await;
    let reply = &settled["reply"];
    assert_eq!((&reply["finish_reason"], calls), (&json!("MAX_TOKENS"), 1));
    assert_eq!(reply["content"].as_str().unwrap().len(), 1 << 20);
    let grown = peak_memory(stack) - before;
    assert!(grown < 32 << 10, "{grown} KiB for a reply of 1 MB");
}

/// The most memory that a process of the worker ever had, in KiB.
fn peak_memory(stack: &Stack) -> usize {
    let peak = |pid: u32| -> Option<usize> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    let pids = stack.system.pids(stack.worker());
    pids.into_iter().filter_map(peak).max().unwrap()
}

/// Fault 58: Gemini: a quota of the day, 499, 409, blank replies, errors without a frame, thoughts only.
pub async fn each_way_in_which_gemini_fails_is_met_in_its_own_way(stack: &Stack) {
    let user = stack.user().await;
    let per_day = json!({
        "status": 429, "retry_delay": "0s", "quota_id": "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
    });
    let per_minute = json!({
        "status": 429, "retry_delay": "0s", "quota_id": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
    });
    let blank = json!({ "text": "" });
    let thoughts = json!({ "text": "", "thoughts": "Hm." });
    let other = json!({ "finish": "OTHER", "text": "" });
    let malformed = json!({ "finish": "MALFORMED_RESPONSE", "text": "" });
    let seen = json!({ "finish": "OTHER" });
    let cut = json!({ "text": "", "finish": "MAX_TOKENS" });
    let cases: [(&str, Vec<Value>, &str, usize, i64); 15] = [
        ("per day", vec![per_day], "MODEL_QUOTA", 1, 0),
        ("per minute", vec![per_minute], "answered", 2, 1),
        ("499", vec![json!({ "status": 499 })], "answered", 2, 1),
        ("409", vec![json!({ "status": 409 })], "answered", 2, 1),
        ("unframed 503", vec![json!({ "unframed_error": 503 })], "answered", 2, 1),
        ("unframed 400", vec![json!({ "unframed_error": 400 })], "REJECTED", 1, 0),
        ("twice blank", vec![blank.clone(); 2], "answered", 3, 1),
        ("thrice blank", vec![blank; 3], "EMPTY_REPLY", 3, 0),
        ("thoughts only", vec![thoughts; 3], "EMPTY_REPLY", 3, 0),
        ("other once", vec![other.clone()], "answered", 2, 1),
        ("other", vec![other; 3], "OTHER", 3, 0),
        ("other after a text", vec![seen], "answered", 1, 1),
        ("malformed", vec![malformed; 3], "MALFORMED_RESPONSE", 3, 0),
        ("cut before a word", vec![cut], "MAX_TOKENS", 1, 0),
        ("bare end", vec![json!({ "bare_end": true })], "answered", 1, 1),
    ];
    let mut used = 0;
    let cases = cases.iter().map(async |(prompt, outcomes, end, calls, counts)| {
        let (settled, called) = settled_after(stack, &user, prompt, outcomes).await;
        let reached = settled["failure"]["reason"].as_str().unwrap_or("answered");
        assert_eq!((reached, called), (*end, *calls), "{prompt}");
        *counts
    });
    for counts in join_all(cases).await {
        used += counts;
    }
    assert_eq!(user.used().await, used);
}

/// Fault 58: our own timeout.
pub async fn a_reply_that_never_begins_is_tried_twice(stack: &Stack) {
    let stack = stack.another(&[("ANSWER_TIMEOUT_SECONDS", "1")]).await;
    let user = stack.user().await;
    let hang = json!({ "hang": true, "text": "" });
    let (settled, calls) = settled_after(&stack, &user, "hang", &[hang.clone(), hang]).await;
    assert_eq!((&settled["failure"]["reason"], calls), (&json!("MODEL_UNAVAILABLE"), 2));
    assert_eq!(user.used().await, 0);
}

/// Fault 73: a reply takes longer than it may while its text comes.
pub async fn a_reply_that_takes_too_long_is_kept_as_far_as_it_came(stack: &Stack) {
    let stack = stack.another(&[("ANSWER_TIMEOUT_SECONDS", "1")]).await;
    let user = stack.user().await;
    let slow = json!({ "text": "one two three four", "pieces": 4, "pause_ms": 400 });
    let hang = json!({ "text": "one two three four", "pieces": 4, "hang": true });
    for (prompt, outcome) in [("slow", slow), ("stuck", hang)] {
        let (settled, calls) = settled_after(&stack, &user, prompt, &[outcome]).await;
        assert_eq!((&settled["reply"]["finish_reason"], calls), (&json!("TIME_LIMIT"), 1), "{settled}");
        let reply = settled["reply"]["content"].as_str().unwrap();
        assert!("one two three four".starts_with(reply) && reply.len() < 18, "{settled}");
    }
    assert_eq!(user.used().await, 2);
}

/// Fault 58: overload.
pub async fn after_two_overloads_the_fallback_is_asked_and_named(stack: &Stack) {
    let fallback = "gemini-2.5-flash-lite";
    let settings = [
        ("GEMINI_FALLBACK_MODEL", fallback),
        // Its models know no levels.
        ("GEMINI_THINKING_LEVEL", "NONE"),
    ];
    let stack = stack.another(&settings).await;
    let user = stack.user().await;
    let overload = json!({ "status": 503 });
    let once = settled_after(&stack, &user, "once", std::slice::from_ref(&overload));
    assert_eq!(once.await.0["reply"]["model"], "gemini-3.8-flash");
    let twice = [overload.clone(), overload];
    let (settled, calls) = settled_after(&stack, &user, "twice", &twice).await;
    assert_eq!((&settled["reply"]["model"], calls), (&json!(fallback), 3));
    // Quotas are per model, and a model may be retired.
    let used_up = json!({ "status": 429, "quota_id": "GenerateRequestsPerDayPerProjectPerModel-FreeTier" });
    for (prompt, outcome) in [("used up", used_up), ("retired", json!({ "status": 404 }))] {
        let (settled, calls) = settled_after(&stack, &user, prompt, &[outcome]).await;
        assert_eq!((&settled["reply"]["model"], calls), (&json!(fallback), 2), "{prompt}");
    }
}

/// What a reply may cost is bounded.
pub async fn gemini_is_told_how_much_to_write_and_to_think(stack: &Stack) {
    let user = stack.user().await;
    let prompt = format!("bounded {}", user.id);
    let message = user.post(&user.room().await, &prompt).await;
    user.settled(&message).await;
    let calls = stack.system.gemini_calls().await.unwrap();
    let call = calls.iter().find(|call| call.to_string().contains(&prompt));
    let bounds = json!({ "maxOutputTokens": 8_192, "thinkingConfig": { "thinkingLevel": "LOW" } });
    assert_eq!(call.unwrap()["generationConfig"], bounds);
}
