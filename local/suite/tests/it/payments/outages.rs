//! Tests outages of Stripe and Postgres.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::spawn;

use local_suite::harness::{Stack, text, until};

on!(sqs: an_event_is_handled_once_postgres_is_back);

on!(alone:
    an_event_is_handled_once_stripe_is_back,
    a_read_that_stripe_refuses_for_a_moment_is_repeated,
    a_write_whose_response_is_lost_is_repeated_under_its_key,
    nobody_can_subscribe_while_stripe_is_away_but_everybody_can_chat,
    an_account_stays_whole_while_stripe_is_away,
);

/// Returns Stripe's newest event, with the responses to its deliveries.
async fn last_event(stack: &Stack) -> Value {
    let events = stack.get_stripe("/_events").await;
    events.as_array().unwrap().last().unwrap().clone()
}

async fn is_handled(stack: &Stack, event: &Value) -> bool {
    let id = event["id"].as_str().unwrap();
    let sql = format!("select bool_or(handled_at is not null) from stripe_events where id = '{id}'");
    stack.value::<Option<bool>>(&sql).await == Some(true)
}

/// Fault 24: Postgres or Stripe is down at an event.
pub async fn an_event_is_handled_once_stripe_is_back(stack: &Stack) {
    let user = stack.user().await;
    let change = format!("/_subscriptions/{}", user.become_pro().await);
    stack.ask_stripe(stack.stripe(Method::POST, "/_hold")).await;
    stack.post_stripe(&change, json!({ "status": "canceled" })).await;
    let event = last_event(stack).await;
    let send = format!("/_events/{}/send", event["id"].as_str().unwrap());
    for (status, times) in [(500, 2), (503, 2), (429, 1)] {
        let refused = json!([{ "match": "GET /v1/subscriptions", "status": status, "times": times }]);
        stack.post_stripe("/_script", refused).await;
        let sent = stack.post_stripe(&send, json!(null)).await;
        assert_eq!(sent["status"], 503, "{sent}");
        assert!(!is_handled(stack, &event).await);
        assert_eq!(user.status().await["plan"], "pro");
    }
    // Stripe sends it again by itself until it is taken.
    let at_first = json!([{ "match": "GET /v1/subscriptions", "status": 503, "times": 4 }]);
    stack.post_stripe("/_script", at_first).await;
    stack.ask_stripe(stack.stripe(Method::POST, "/_release")).await;
    let status = user.becomes("basic").await;
    assert_eq!(status["status"], "canceled");
    assert!(is_handled(stack, &event).await);
}

pub async fn a_read_that_stripe_refuses_for_a_moment_is_repeated(stack: &Stack) {
    let user = stack.user().await;
    let change = format!("/_subscriptions/{}", user.become_pro().await);
    stack.ask_stripe(stack.stripe(Method::POST, "/_hold")).await;
    stack.post_stripe(&change, json!({ "status": "canceled" })).await;
    let event = last_event(stack).await;
    let once = json!([{ "match": "GET /v1/subscriptions", "status": 503 }]);
    stack.post_stripe("/_script", once).await;
    let send = format!("/_events/{}/send", text(&event["id"]));
    let sent = stack.post_stripe(&send, json!(null)).await;
    assert_eq!(sent["status"], 200, "{sent}");
    assert_eq!(user.status().await["plan"], "basic");
}

pub async fn a_write_whose_response_is_lost_is_repeated_under_its_key(stack: &Stack) {
    let user = stack.user().await;
    let lost = json!([{ "match": "POST /v1/checkout/sessions", "delay_ms": 6_000 }]);
    stack.post_stripe("/_script", lost).await;
    let page = user.subscribe().await;
    assert_eq!(user.subscribe().await, page);
    assert_eq!(user.made().await, (1, 1));
}

pub async fn nobody_can_subscribe_while_stripe_is_away_but_everybody_can_chat(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let away = json!([{ "match": "/v1/", "status": 503, "times": 1_000 }]);
    stack.post_stripe("/_script", away).await;
    user.call(Method::POST, "/subscribe/pro", 503).await;
    assert_eq!(user.try_post(&room, "hello").await.status, 202);
    assert_eq!(user.status().await["usage"]["used"], 1);
    stack.ask_stripe(stack.stripe(Method::DELETE, "/_script")).await;
    let page = user.subscribe().await;
    user.pay(&page).await;
    assert_eq!(user.status().await["plan"], "pro");
}

pub async fn an_account_stays_whole_while_stripe_is_away(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let subscription = user.become_pro().await;
    stack.post_stripe("/_script", json!([{ "match": "DELETE /v1/", "status": 503 }])).await;
    user.leave(503).await;
    assert_eq!(user.status().await["plan"], "pro");
    assert_eq!(user.try_post(&room, "hello").await.status, 202);
    user.leave(204).await;
    let ended = stack.get_stripe(&format!("/v1/subscriptions/{subscription}")).await;
    assert_eq!(ended["status"], "canceled");
}

/// Fault 24: Postgres or Stripe is down at an event.
pub async fn an_event_is_handled_once_postgres_is_back(stack: &Stack) {
    let services = Stack::services().with_own_postgres().await.unwrap();
    let stack = stack.another_on(&services, &[]).await;
    let _schedules = stack.system.schedules().pause().await;
    let user = stack.user().await;
    let page = user.subscribe().await;
    services.postgres().unwrap().stop().await.unwrap();

    let id = text(&page["session_id"]);
    let pay = stack.stripe(Method::POST, &format!("/_pay/{id}"));
    let paying = spawn(pay.send());
    until("the event is refused", async || {
        let events = stack.get_stripe("/_events").await;
        events[0]["deliveries"][0] == 503
    })
    .await;
    services.postgres().unwrap().resume().await.unwrap();
    assert!(paying.await.unwrap().unwrap().status().is_success());
    let status = user.becomes("pro").await;
    assert_eq!(status["status"], "active");
    assert_eq!(stack.count("stripe_events where handled_at is null").await, 0);
}
