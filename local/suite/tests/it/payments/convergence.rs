//! Tests that the stored subscription becomes Stripe's, in whatever order events come.

use std::{collections::BTreeSet, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use local_suite::harness::{Stack, User};

on!(alone:
    any_order_with_duplicates_and_any_one_missing_ends_in_stripes_state,
    events_among_changes_end_in_stripes_state,
    a_slow_answer_does_not_replace_a_newer_one,
    a_sync_finds_out_what_no_event_said,
);

/// Reads the subscription from Stripe and from the database, in the same words.
async fn compare(user: &User<'_>, subscription: &str, told: &str) {
    let said = user.api.get_stripe(&format!("/v1/subscriptions/{subscription}")).await;
    let sql = format!(
        "select jsonb_build_object(
            'id', stripe_subscription_id, 'status', status, 'ends', cancel_at_period_end,
            'period_end', extract(epoch from current_period_end)::int8
        )::text from subscriptions where user_id = '{}'",
        user.id
    );
    let stored: Value = serde_json::from_str(&user.api.value::<String>(&sql).await).unwrap();
    let expected = json!({
        "id": said["id"], "status": said["status"], "ends": said["cancel_at_period_end"],
        "period_end": said["items"]["data"][0]["current_period_end"],
    });
    assert_eq!(stored, expected, "{told}");
}

/// Returns every order of the elements, with each of them left out once, too.
fn orders(events: &[String]) -> Vec<Vec<String>> {
    if events.is_empty() {
        return vec![Vec::new()];
    }
    let mut orders = Vec::new();
    for (index, first) in events.iter().enumerate() {
        let mut rest = events.to_vec();
        rest.remove(index);
        for mut order in self::orders(&rest) {
            order.insert(0, first.clone());
            orders.push(order);
        }
    }
    orders
}

/// Counts the calls of Stripe that contain `part`.
pub async fn calls(stack: &Stack, part: &str) -> usize {
    let calls = stack.get_stripe("/_calls").await;
    let calls = calls.as_array().unwrap().iter();
    let said = calls.map(|call| {
        let [method, path] = ["method", "path"].map(|name| call[name].as_str().unwrap());
        format!("{method} {path}")
    });
    said.filter(|call| call.contains(part)).count()
}

/// Returns the ids of the events since the first `skip`.
async fn events(stack: &Stack, skip: usize) -> Vec<String> {
    let events = stack.get_stripe("/_events").await;
    let ids = events.as_array().unwrap().iter().skip(skip);
    ids.map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

async fn hold(stack: &Stack) -> usize {
    stack.ask_stripe(stack.stripe(Method::POST, "/_hold")).await;
    events(stack, 0).await.len()
}

/// Fault 21: a subscription's events in every order, with any one missing.
pub async fn any_order_with_duplicates_and_any_one_missing_ends_in_stripes_state(stack: &Stack) {
    let user = stack.user().await;
    let page = user.subscribe().await;
    let before = hold(stack).await;
    user.pay(&page).await;
    let subscription = user.subscription_of(&page).await;
    let change = format!("/_subscriptions/{subscription}");
    stack.post_stripe(&change, json!({ "cancel_at_period_end": true })).await;
    stack.post_stripe(&change, json!({ "status": "canceled" })).await;
    stack.post_stripe("/_release", json!({ "order": [] })).await;
    let mut events = events(stack, before).await;
    assert_eq!(events.len(), 5, "created, paid, completed, updated, deleted");
    events.remove(2); // the page's own event says nothing that the others do not

    let missing_one = (0..events.len()).map(|missing| {
        let mut rest = events.clone();
        rest.remove(missing);
        rest
    });
    let mut runs = 0;
    for events in [events.clone()].into_iter().chain(missing_one) {
        for order in orders(&events) {
            // Nothing is known but that there was a checkout, and no event ever came.
            stack
                .execute(&format!(
                    "update subscriptions set status = null, stripe_subscription_id = null, current_period_end = null,
                     cancel_at_period_end = false, observed_at = null where user_id = '{}';
                     delete from stripe_events",
                    user.id
                ))
                .await;
            for (index, event) in order.iter().enumerate() {
                // Each comes again at once, and the first one after every other.
                for event in [event, event, &order[0]].into_iter().take(if index == 0 { 2 } else { 3 }) {
                    let sent = stack.post_stripe(&format!("/_events/{event}/send"), json!(null)).await;
                    assert_eq!(sent["status"], 200);
                }
            }
            if order.len() < 4 {
                stack.system.run_schedule("subscription-sync").await.unwrap();
            }
            compare(&user, &subscription, &order.join(", ")).await;
            let handled: i64 = stack.value("select count(handled_at) from stripe_events").await;
            assert_eq!(usize::try_from(handled).unwrap(), order.len());
            runs += 1;
        }
    }
    assert_eq!(runs, 24 + 4 * 6);
}

pub async fn events_among_changes_end_in_stripes_state(stack: &Stack) {
    // After each change, some of the events that are due come, old ones after new ones.
    let changes = [
        json!({ "cancel_at_period_end": true }),
        json!({ "status": "past_due" }),
        json!({ "status": "active", "cancel_at_period_end": false }),
        json!({ "current_period_end": 2_000_000_000 }),
        json!({ "status": "canceled" }),
    ];
    for pattern in 0..8_usize {
        let user = stack.user().await;
        let page = user.subscribe().await;
        let before = hold(stack).await;
        user.pay(&page).await;
        let subscription = user.subscription_of(&page).await;
        let mut delivered = BTreeSet::new();
        for (step, change) in changes.iter().enumerate() {
            stack.post_stripe(&format!("/_subscriptions/{subscription}"), change.clone()).await;
            let events = events(stack, before).await;
            let due = events.iter().rev().enumerate();
            for (_, event) in due.filter(|(index, _)| (index + step) % 8 < pattern) {
                stack.post_stripe(&format!("/_events/{event}/send"), json!(null)).await;
                if !delivered.insert(event.clone()) {
                    continue; // it was handled before, so it says nothing new
                }
                compare(&user, &subscription, &format!("{pattern}, {step}: {event}")).await;
            }
        }
        assert_eq!(delivered.is_empty(), pattern == 0);
        stack.post_stripe("/_release", json!({ "order": [] })).await;
        stack.system.run_schedule("subscription-sync").await.unwrap();
        compare(&user, &subscription, "after the sync").await;
        assert_eq!(user.status().await["plan"], "basic");
    }
}

pub async fn a_slow_answer_does_not_replace_a_newer_one(stack: &Stack) {
    let user = stack.user().await;
    let subscription = user.become_pro().await;
    let before = hold(stack).await;
    let change = format!("/_subscriptions/{subscription}");
    stack.post_stripe(&change, json!({ "cancel_at_period_end": true })).await;
    let send =
        async |event: String| stack.post_stripe(&format!("/_events/{event}/send"), json!(null)).await["status"].clone();
    let slow = json!([{ "match": "GET /v1/subscriptions", "delay_ms": 1_500 }]);
    stack.post_stripe("/_script", slow).await;
    let updated = events(stack, before).await[0].clone();
    let asked = calls(stack, "GET /v1/subscriptions").await;
    let newer = async {
        // Its answer is on the way, and tells of a subscription that is still there.
        while calls(stack, "GET /v1/subscriptions").await == asked {
            sleep(Duration::from_millis(10)).await;
        }
        stack.post_stripe(&change, json!({ "status": "canceled" })).await;
        let cancelled = events(stack, before).await.pop().unwrap();
        assert_eq!(send(cancelled).await, 200);
        compare(&user, &subscription, "the newer").await;
    };
    let (older, ()) = futures_util::join!(send(updated.clone()), newer);
    assert_eq!(older, 200);
    compare(&user, &subscription, "the older after the newer").await;
    assert_eq!(user.status().await["plan"], "basic");
    let sql = format!("select handled_at is not null from stripe_events where id = '{updated}'");
    assert!(stack.value::<bool>(&sql).await, "it was overtaken, and is done");
    stack.post_stripe("/_release", json!({ "order": [] })).await;
}

pub async fn a_sync_finds_out_what_no_event_said(stack: &Stack) {
    hold(stack).await;
    let sync = async || stack.system.run_schedule("subscription-sync").await.unwrap();
    let (paid, cancelled, waiting) = (stack.user().await, stack.user().await, stack.user().await);
    waiting.subscribe().await;
    let page = paid.subscribe().await;
    paid.pay(&page).await;
    let subscription = cancelled.become_pro().await;
    sync().await;
    assert_eq!(paid.status().await["plan"], "pro");
    assert_eq!(cancelled.status().await["plan"], "pro");
    assert_eq!(waiting.status().await["plan"], "basic");

    stack.post_stripe(&format!("/_subscriptions/{subscription}"), json!({ "status": "canceled" })).await;
    assert_eq!(cancelled.status().await["plan"], "pro");
    let told = sync().await;
    assert_eq!(told["failed"], 0, "{told}");
    assert_eq!(cancelled.status().await["plan"], "basic");
    assert_eq!(paid.status().await["plan"], "pro");
    stack.post_stripe("/_release", json!({ "order": [] })).await;
}
