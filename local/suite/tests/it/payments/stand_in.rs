//! Tests that the stand-in refuses unknown calls, and that its pages work. `vendors` holds the rest to Stripe's client.

use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use local_suite::harness::Stack;

on!(redis: a_call_that_it_does_not_know_is_a_clear_404, its_pages_work_without_a_script);

async fn response(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

pub async fn a_call_that_it_does_not_know_is_a_clear_404(stack: &Stack) {
    for (method, path) in [(Method::GET, "/v1/refunds"), (Method::POST, "/v1/prices"), (Method::PUT, "/v2/core/events")]
    {
        let (status, body) = response(stack.stripe(method.clone(), path)).await;
        assert_eq!((status, &body["error"]["type"]), (404, &"invalid_request_error".into()));
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("({method}: {path})")), "{message}");
    }
}

pub async fn its_pages_work_without_a_script(stack: &Stack) {
    let user = stack.user().await;
    let page = user.subscribe().await;
    let client = &stack.client;
    let paid =
        client.post(format!("{}/_pay/{}", stack.stripe_url.as_deref().unwrap(), page["session_id"].as_str().unwrap()));
    let paid = paid.send().await.unwrap();
    assert!(paid.url().path().ends_with("/returned"), "{}", paid.url());
    assert!(paid.text().await.unwrap().contains("<h1>"));
    let again = client.get(page["url"].as_str().unwrap()).send().await.unwrap();
    assert!(again.text().await.unwrap().contains("paid already"));
}
