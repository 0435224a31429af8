//! The stand-in answers as Stripe does, or says that it cannot.

use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use local::harness::Stack;

async fn response(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

pub async fn a_call_that_it_does_not_know_is_a_clear_404(stack: &Stack) {
    for (method, path) in [
        (Method::GET, "/v1/refunds"),
        (Method::POST, "/v1/prices"),
        (Method::PUT, "/v2/core/events"),
    ] {
        let (status, body) = response(stack.stripe(method.clone(), path)).await;
        assert_eq!(
            (status, &body["error"]["type"]),
            (404, &"invalid_request_error".into())
        );
        let message = body["error"]["message"].as_str().unwrap();
        assert!(
            message.contains(&format!("({method}: {path})")),
            "{message}"
        );
    }
}

pub async fn its_errors_have_stripes_form(stack: &Stack) {
    let url = format!("{}/v1/customers", stack.stripe_url.as_deref().unwrap());
    for request in [
        stack.client.get(&url),
        stack.client.get(&url).bearer_auth("pk_test_1"),
    ] {
        let (status, body) = response(request).await;
        assert_eq!(
            (status, &body["error"]["type"]),
            (401, &"invalid_request_error".into())
        );
    }
    let cases = [
        (
            Method::GET,
            "/v1/customers/cus_none",
            "",
            404,
            "resource_missing",
            "id",
        ),
        (
            Method::GET,
            "/v1/subscriptions?customer=cus_none",
            "",
            400,
            "resource_missing",
            "customer",
        ),
        (
            Method::POST,
            "/v1/customers",
            "colour=red",
            400,
            "parameter_unknown",
            "colour",
        ),
        (
            Method::POST,
            "/v1/billing_portal/sessions",
            "",
            400,
            "parameter_missing",
            "customer",
        ),
        (
            Method::POST,
            "/v1/checkout/sessions",
            "mode=subscription",
            400,
            "parameter_missing",
            "customer",
        ),
    ];
    for (method, path, body, status, code, param) in cases {
        let (answered, body) = response(stack.stripe(method, path).body(body)).await;
        let error = &body["error"];
        assert_eq!(
            (answered, &error["code"], &error["param"]),
            (status, &code.into(), &param.into()),
            "{path}"
        );
    }
}

pub async fn an_idempotency_key_repeats_the_first_answer_and_refuses_another_request(
    stack: &Stack,
) {
    let create = |name: &'static str| {
        let request = stack
            .stripe(Method::POST, "/v1/customers")
            .header("idempotency-key", "stand-in-1");
        request.body(format!("name={name}"))
    };
    let first = response(create("Ada")).await;
    assert_eq!(first.0, 200);
    let again = create("Ada").send().await.unwrap();
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.json::<Value>().await.unwrap(), first.1);
    let (status, body) = response(create("Eve")).await;
    assert_eq!(
        (status, &body["error"]["type"]),
        (400, &"idempotency_error".into())
    );

    // A request that was not valid does not count.
    let request = |body: &'static str| {
        let request = stack
            .stripe(Method::POST, "/v1/customers")
            .header("idempotency-key", "stand-in-2");
        request.body(body)
    };
    assert_eq!(response(request("colour=red")).await.0, 400);
    assert_eq!(response(request("name=Ada")).await.0, 200);
}

pub async fn its_pages_work_without_a_script(stack: &Stack) {
    let user = stack.user().await;
    let page = user.subscribe().await;
    let client = &stack.client;
    let paid = client.post(format!(
        "{}/_pay/{}",
        stack.stripe_url.as_deref().unwrap(),
        page["session_id"].as_str().unwrap()
    ));
    let paid = paid.send().await.unwrap();
    assert!(paid.url().path().ends_with("/returned"), "{}", paid.url());
    assert!(paid.text().await.unwrap().contains("<h1>"));
    let again = client
        .get(page["url"].as_str().unwrap())
        .send()
        .await
        .unwrap();
    assert!(again.text().await.unwrap().contains("paid already"));
}
