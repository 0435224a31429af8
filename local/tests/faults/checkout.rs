//! Row 25: buying twice.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::payments::Stack;

/// Row 25.
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

/// Row 25.
pub async fn a_subscriber_gets_the_portal_instead(stack: &Stack) {
    let user = stack.user().await;
    let subscription = user.become_pro().await;
    let problem = user.call(Method::POST, "/subscribe/pro", 409).await;
    let portal = stack
        .system
        .client()
        .get(problem["portal_url"].as_str().unwrap());
    let portal = portal.send().await.unwrap().text().await.unwrap();
    assert!(portal.contains(&subscription), "{portal}");

    // Who does not pay has something to pay, not something to buy.
    let change = format!("/_subscriptions/{subscription}");
    stack
        .post_stripe(&change, json!({ "status": "unpaid" }))
        .await;
    assert_eq!(user.status().await["plan"], "basic");
    user.call(Method::POST, "/subscribe/pro", 409).await;
    assert_eq!(user.made().await, (1, 1));
}
