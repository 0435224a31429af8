//! Tests that a user has one customer and one open page, and that nothing is sold twice.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use local_suite::harness::Stack;

on_every_kind!(a_subscription_to_another_price_is_not_pro, nobody_gets_pages_without_end);

on!(sqs:
    a_user_who_has_not_paid_yet_gets_the_open_page_again,
    a_customer_that_was_deleted_at_stripe_is_replaced,
    a_key_that_was_used_for_something_else_is_left_behind,
    a_page_that_expired_is_replaced,
    an_open_page_is_given_again,
    nobody_without_a_customer_has_a_portal,
    a_subscriber_gets_the_portal_instead,
);

on!(alone:
    an_error_that_stripe_would_repeat_is_left_behind,
    a_user_who_paid_without_an_event_is_not_sold_a_second_one,
    checkouts_at_once_give_one_customer_and_one_page,
);

pub async fn an_open_page_is_given_again(stack: &Stack) {
    let user = stack.user().await;
    let page = user.subscribe().await;
    let id = page["session_id"].as_str().unwrap();
    let session = stack.get_stripe(&format!("/v1/checkout/sessions/{id}")).await;
    assert_eq!(session["mode"], "subscription");
    assert_eq!(session["client_reference_id"], json!(user.id));
    assert_eq!(session["metadata"]["user_id"], json!(user.id));
    assert_eq!(session["url"], page["url"]);
    let returned = format!("{}/returned", stack.stripe_url.as_deref().unwrap());
    assert_eq!((&session["success_url"], &session["cancel_url"]), (&json!(returned), &json!(returned)));

    assert_eq!(user.subscribe().await, page);
    assert_eq!(user.made().await, (1, 1));
    assert_eq!(user.status().await["plan"], "basic");
}

pub async fn a_page_that_expired_is_replaced(stack: &Stack) {
    let user = stack.user().await;
    let page = user.subscribe().await;
    let id = page["session_id"].as_str().unwrap();
    stack.post_stripe(&format!("/v1/checkout/sessions/{id}/expire"), json!(null)).await;
    let pages = join_all((0..2).map(|_| user.subscribe())).await;
    assert_eq!(pages[0], pages[1]);
    assert_ne!(pages[0], page);
    assert_eq!(user.made().await, (1, 2));
}

pub async fn a_user_who_paid_without_an_event_is_not_sold_a_second_one(stack: &Stack) {
    let user = stack.user().await;
    let page = user.subscribe().await;
    stack.ask_stripe(stack.stripe(Method::POST, "/_hold")).await;
    user.pay(&page).await;
    stack.post_stripe("/_release", json!({ "order": [] })).await;
    assert_eq!(user.status().await["plan"], "basic");
    user.call(Method::POST, "/subscribe/pro", 409).await;
    assert_eq!(user.status().await["plan"], "pro");
}

pub async fn an_error_that_stripe_would_repeat_is_left_behind(stack: &Stack) {
    for call in ["POST /v1/customers", "POST /v1/checkout/sessions"] {
        stack.post_stripe("/_script", json!([{ "match": call, "status": 500 }])).await;
        let user = stack.user().await;
        let page = user.subscribe().await;
        assert_eq!(user.subscribe().await, page, "{call}");
        assert_eq!(user.made().await, (1, 1), "{call}");
    }
}

pub async fn a_key_that_was_used_for_something_else_is_left_behind(stack: &Stack) {
    // As after a change of the price or of a URL, in the middle of a checkout.
    let user = stack.user().await;
    let key = format!("checkout-{}-0", user.id);
    let other = stack.stripe(Method::POST, "/v1/customers").header("idempotency-key", &key);
    stack.ask_stripe(other).await;
    let page = user.subscribe().await;
    assert_eq!(user.subscribe().await, page);
}

pub async fn a_customer_that_was_deleted_at_stripe_is_replaced(stack: &Stack) {
    let user = stack.user().await;
    user.become_pro().await;
    let customer = user.customer().await;
    let delete = stack.stripe(Method::DELETE, &format!("/v1/customers/{customer}"));
    stack.ask_stripe(delete).await;
    let status = user.becomes("basic").await;
    assert_eq!(status["status"], "canceled");
    let page = user.subscribe().await;
    assert_ne!(user.customer().await, customer);
    user.pay(&page).await;
    assert_eq!(user.status().await["plan"], "pro");
}

pub async fn nobody_without_a_customer_has_a_portal(stack: &Stack) {
    let user = stack.user().await;
    user.call(Method::POST, "/subscription/portal", 404).await;
    let other = stack.user().await;
    other.become_pro().await;
    user.call(Method::POST, "/subscription/portal", 404).await;
}

/// Fault 25: checkouts at once.
pub async fn checkouts_at_once_give_one_customer_and_one_page(stack: &Stack) {
    // While one is making the customer, and then the page, the others find the key in use.
    let slow = ["POST /v1/customers", "POST /v1/checkout/sessions"];
    let slow = slow.map(|call| json!({ "match": call, "delay_ms": 500 }));
    stack.post_stripe("/_script", json!(slow)).await;
    let user = stack.user().await;
    let pages = join_all((0..4).map(|_| user.subscribe())).await;
    assert!(pages.iter().all(|page| *page == pages[0]), "{pages:?}");
    assert_eq!(user.made().await, (1, 1));
}

/// Fault 25: checkouts at once.
pub async fn a_subscriber_gets_the_portal_instead(stack: &Stack) {
    let user = stack.user().await;
    let subscription = user.become_pro().await;
    let problem = user.call(Method::POST, "/subscribe/pro", 409).await;
    let portal = stack.client.get(problem["portal_url"].as_str().unwrap());
    let portal = portal.send().await.unwrap().text().await.unwrap();
    assert!(portal.contains(&subscription), "{portal}");

    // Who does not pay has something to pay, not something to buy.
    let change = format!("/_subscriptions/{subscription}");
    stack.post_stripe(&change, json!({ "status": "unpaid" })).await;
    assert_eq!(user.status().await["plan"], "basic");
    user.call(Method::POST, "/subscribe/pro", 409).await;
    assert_eq!(user.made().await, (1, 1));
}

/// Stripe makes a subscription before its first payment succeeds.
pub async fn a_user_who_has_not_paid_yet_gets_the_open_page_again(stack: &Stack) {
    let user = stack.user().await;
    let page = user.subscribe().await;
    let customer = user.customer().await;
    let form = format!("customer={customer}&items[0][price]=price_pro");
    let begun = stack.ask_stripe(stack.stripe(Method::POST, "/v1/subscriptions").body(form)).await;
    let change = format!("/_subscriptions/{}", begun["id"].as_str().unwrap());
    stack.post_stripe(&change, json!({ "status": "incomplete" })).await;
    assert_eq!(user.subscribe().await, page);
    stack.post_stripe(&change, json!({ "status": "active" })).await;
    user.call(Method::POST, "/subscribe/pro", 409).await;
}

/// Fault 45: a subscription to another price.
pub async fn a_subscription_to_another_price_is_not_pro(stack: &Stack) {
    let user = stack.user().await;
    let page = user.subscribe().await;
    let customer = user.customer().await;
    let form = format!("customer={customer}&items[0][price]=price_other");
    stack.ask_stripe(stack.stripe(Method::POST, "/v1/subscriptions").body(form)).await;
    assert_eq!(user.status().await["plan"], "basic");
    assert_eq!(user.subscribe().await, page, "Pro is still for sale");
    user.pay(&page).await;
    user.becomes("pro").await;
}

pub async fn nobody_gets_pages_without_end(stack: &Stack) {
    let user = stack.user().await;
    for _ in 0..20 {
        user.subscribe().await;
        user.call(Method::POST, "/subscription/portal", 200).await;
    }
    let asked = user.made().await;
    for path in ["/subscription/portal", "/subscribe/pro"] {
        let refused = user.call(Method::POST, path, 429).await;
        assert!(refused["type"].is_string(), "{refused}");
    }
    assert_eq!(user.made().await, asked);
    stack.user().await.subscribe().await; // others may
}
