//! Tests the way from Basic to Pro and back: the plan and the daily limit follow the payments.

use reqwest::Method;
use serde_json::json;

use local_suite::harness::{Stack, User};

use crate::stacks::DAILY;

use super::now;

on_every_kind!(a_user_subscribes_cancels_falls_behind_and_subscribes_again);

on!(sqs: the_best_of_several_subscriptions_counts, a_late_payer_keeps_the_first_day_of_being_late);

const DAY: u64 = 24 * 60 * 60;

/// Presses a button of the portal's page.
async fn press(user: &User<'_>, verb: &str) {
    let portal = user.call(Method::POST, "/subscription/portal", 200).await;
    let client = &user.api.client;
    let page = client.get(portal["url"].as_str().unwrap());
    let page = page.send().await.unwrap().text().await.unwrap();
    let action = page
        .split("action=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .find(|action| action.ends_with(verb))
        .unwrap_or_else(|| panic!("there is no {verb} in {page}"));
    user.api.ask_stripe(user.api.stripe(Method::POST, action)).await;
}

pub async fn a_user_subscribes_cancels_falls_behind_and_subscribes_again(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    for _ in 0..DAILY {
        assert_eq!(user.try_post(&room, "hello").await.status, 202);
    }
    let refused = user.try_post(&room, "hello").await;
    assert_eq!(refused.status, 429);
    let policy = format!("\"daily-messages\";q={DAILY};w=86400");
    assert_eq!(refused.headers["ratelimit-policy"], policy);
    let status = user.status().await;
    assert_eq!(status["plan"], "basic");
    assert_eq!(status["status"], json!(null));
    assert_eq!((&status["usage"]["used"], &status["usage"]["limit"]), (&json!(DAILY), &json!(DAILY)));

    // Pays on the page, and posts at once.
    let page = user.subscribe().await;
    let client = &stack.client;
    let html = client.get(page["url"].as_str().unwrap()).send().await.unwrap();
    let html = html.text().await.unwrap();
    let id = page["session_id"].as_str().unwrap();
    assert!(html.contains(&format!("action=\"/_pay/{id}\"")), "{html}");
    user.pay(&page).await;
    assert_eq!(user.try_post(&room, "hello").await.status, 202);
    let status = user.status().await;
    assert_eq!((&status["plan"], &status["status"]), (&json!("pro"), &json!("active")));
    assert_eq!(status["usage"]["limit"], 1_000);
    let me = user.call(Method::GET, "/user/me", 200).await;
    assert_eq!(me["plan"], "pro");

    // Cancels, thinks better of it, and cancels: Pro until the period ends.
    for (verb, ends) in [("cancel", true), ("resume", false), ("cancel", true)] {
        press(&user, verb).await;
        let status = user.status().await;
        assert_eq!((&status["plan"], &status["cancel_at_period_end"]), (&json!("pro"), &json!(ends)));
    }
    assert_eq!(user.try_post(&room, "hello").await.status, 202);
    let subscription = user.subscription_of(&page).await;
    let change = format!("/_subscriptions/{subscription}");
    press(&user, "resume").await;

    // Does not pay: Pro for three days, and then Basic.
    let two_days_ago = now() - 2 * DAY;
    stack.post_stripe(&change, json!({ "status": "past_due", "unpaid_since": two_days_ago })).await;
    let status = user.status().await;
    assert_eq!((&status["plan"], &status["status"]), (&json!("pro"), &json!("past_due")));
    assert_eq!(user.try_post(&room, "hello").await.status, 202);
    stack.post_stripe(&change, json!({ "status": "past_due", "unpaid_since": now() - 4 * DAY })).await;
    let status = user.status().await;
    assert_eq!((&status["plan"], &status["status"]), (&json!("basic"), &json!("past_due")));
    assert_eq!(user.try_post(&room, "hello").await.status, 429);

    // Pays late: Pro again. Then the subscription ends, and a new one begins.
    stack.post_stripe(&change, json!({ "status": "active" })).await;
    assert_eq!(user.status().await["plan"], "pro");
    stack.post_stripe(&change, json!({ "status": "canceled" })).await;
    let status = user.status().await;
    assert_eq!((&status["plan"], &status["status"]), (&json!("basic"), &json!("canceled")));
    assert_eq!(user.try_post(&room, "hello").await.status, 429);
    let again = user.subscribe().await;
    assert_ne!(again["session_id"], page["session_id"]);
    user.pay(&again).await;
    assert_eq!(user.try_post(&room, "hello").await.status, 202);
    assert_eq!(user.status().await["plan"], "pro");
}

pub async fn the_best_of_several_subscriptions_counts(stack: &Stack) {
    let user = stack.user().await;
    let first = user.become_pro().await;
    let customer = user.customer().await;
    let another = [("customer", customer.as_str()), ("items[0][price]", "price_pro")];
    let request = stack.stripe(Method::POST, "/v1/subscriptions");
    let encoded = another.map(|(name, value)| format!("{name}={value}")).join("&");
    let second = stack.ask_stripe(request.body(encoded)).await;

    stack.post_stripe(&format!("/_subscriptions/{first}"), json!({ "status": "canceled" })).await;
    let status = user.becomes("pro").await;
    assert_eq!(status["status"], "active");
    let second = second["id"].as_str().unwrap();
    stack.post_stripe(&format!("/_subscriptions/{second}"), json!({ "status": "unpaid" })).await;
    let status = user.status().await;
    assert_eq!((&status["plan"], &status["status"]), (&json!("basic"), &json!("unpaid")));
}

pub async fn a_late_payer_keeps_the_first_day_of_being_late(stack: &Stack) {
    let user = stack.user().await;
    let change = format!("/_subscriptions/{}", user.become_pro().await);
    stack.post_stripe(&change, json!({ "status": "past_due", "unpaid_since": now() - 4 * DAY })).await;
    assert_eq!(user.status().await["plan"], "basic");

    // The next invoice is not paid either, which is no reason for another grace.
    stack.post_stripe(&change, json!({ "status": "past_due", "unpaid_since": now() })).await;
    assert_eq!(user.status().await["plan"], "basic");
}
