//! Tests that a deleted account pays no more.

use futures_util::join;
use reqwest::Method;
use serde_json::json;

use local_suite::harness::Stack;

on_every_kind!(a_subscriber_who_leaves_pays_no_more);

on!(redis:
    leaving_closes_the_payment_page_that_is_open,
    leaving_goes_on_where_it_broke_off,
    nobody_can_pay_for_an_account_that_is_gone,
);

on!(alone: leaving_waits_for_a_payment_that_is_running);

pub async fn a_subscriber_who_leaves_pays_no_more(stack: &Stack) {
    let user = stack.user().await;
    user.room().await;
    let subscription = user.become_pro().await;
    let customer = user.customer().await;
    let events = format!("stripe_events where user_id = '{}'", user.id);
    let events: Vec<String> = stack.value(&format!("select array_agg(id) from {events}")).await;
    user.leave(204).await;
    let left = format!("stripe_events where id in ('{}')", events.join("', '"));
    assert_eq!(stack.count(&left).await, 0, "what was kept of {events:?}");

    let ended = stack.get_stripe(&format!("/v1/subscriptions/{subscription}")).await;
    assert_eq!(ended["status"], "canceled");
    let customer = stack.get_stripe(&format!("/v1/customers/{customer}")).await;
    assert_eq!(customer["deleted"], true);
    user.call(Method::GET, "/user/me", 401).await;
    user.call(Method::POST, "/subscribe/pro", 401).await;
    // Again is nothing new.
    user.call(Method::DELETE, "/user/me", 204).await;
}

pub async fn leaving_closes_the_payment_page_that_is_open(stack: &Stack) {
    let user = stack.user().await;
    let page = user.subscribe().await;
    user.leave(204).await;
    let id = page["session_id"].as_str().unwrap();
    let session = stack.get_stripe(&format!("/v1/checkout/sessions/{id}")).await;
    assert_eq!(session["status"], "expired");
    let pay = stack.stripe(Method::POST, &format!("/_pay/{id}"));
    assert_eq!(pay.send().await.unwrap().status(), 400);
}

pub async fn leaving_goes_on_where_it_broke_off(stack: &Stack) {
    let user = stack.user().await;
    user.become_pro().await;
    // The customer is gone, and then the function was.
    let path = format!("/v1/customers/{}", user.customer().await);
    stack.ask_stripe(stack.stripe(Method::DELETE, &path)).await;
    let sql = format!(
        "update subscriptions set stripe_customer_id = '{}' where user_id = '{}'",
        path.rsplit('/').next().unwrap(),
        user.id
    );
    user.becomes("basic").await;
    stack.execute(&sql).await;
    user.leave(204).await;
    let left = format!("select count(*) from users where id = '{}'", user.id);
    assert_eq!(stack.value::<i64>(&left).await, 0);
}

pub async fn nobody_can_pay_for_an_account_that_is_gone(stack: &Stack) {
    for _ in 0..8 {
        let user = stack.user().await;
        let subscribe = async || user.send(user.request(Method::POST, "/subscribe/pro")).await;
        user.set_password().await;
        let leave = user.leave(204);
        let (first, second, ()) = join!(subscribe(), subscribe(), leave);
        let responses = [first, second];
        assert!(responses.iter().all(|response| response.status != 500), "{responses:?}");
        for page in responses.iter().filter(|response| response.status == 200) {
            let id = page.body["session_id"].as_str().unwrap();
            let pay = stack.stripe(Method::POST, &format!("/_pay/{id}"));
            assert_eq!(pay.send().await.unwrap().status(), 400, "{id} can be paid");
        }
        let left = format!("select count(*) from users where id = '{}'", user.id);
        assert_eq!(stack.value::<i64>(&left).await, 0);
    }
}

pub async fn leaving_waits_for_a_payment_that_is_running(stack: &Stack) {
    let user = stack.user().await;
    let page = user.subscribe().await;
    let id = page["session_id"].as_str().unwrap();
    // Stripe does not close a page on which somebody is just paying.
    let refused = json!([{ "match": format!("POST /v1/checkout/sessions/{id}/expire"), "status": 400 }]);
    stack.post_stripe("/_script", refused).await;
    user.leave(503).await;
    user.call(Method::GET, "/user/me", 200).await;
    user.leave(204).await;
}
