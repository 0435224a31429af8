//! Tests which events the webhook accepts, refuses and keeps.

use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::future::join_all;
use serde_json::json;

use local_suite::harness::{Stack, sample};

use crate::stacks::SECRETS;

use super::{
    convergence::calls,
    now,
    signature::{deliver, deliver_signed, header, sign},
};

on!(redis:
    a_forged_event_is_refused_and_leaves_no_trace,
    while_a_secret_rolls_either_one_will_do,
    an_event_of_any_version_and_type_is_accepted_and_kept,
    a_nul_in_an_event_is_refused,
    an_event_is_kept_without_its_content_and_goes_with_the_account,
    a_body_that_came_in_base64_is_verified_as_it_was_signed,
);

on!(alone:
    an_event_about_nobody_here_is_accepted_and_kept_and_stripe_is_not_asked,
    an_event_that_comes_twenty_times_at_once_has_one_effect,
);

/// Makes an event of an unknown type.
fn event(id: &str) -> String {
    json!({ "id": id, "object": "event", "type": "radar.early_fraud_warning.created", "data": { "object": {} } })
        .to_string()
}

/// Counts the events on record under an id, and those of them that are handled.
async fn kept(stack: &Stack, id: &str) -> (i64, i64) {
    let count = |what: &str| format!("select count({what}) from stripe_events where id = '{id}'");
    (stack.value(&count("*")).await, stack.value(&count("handled_at")).await)
}

/// Fault 22: a signature that is forged, old or missing; two while a secret rolls.
pub async fn while_a_secret_rolls_either_one_will_do(stack: &Stack) {
    for (number, secret) in SECRETS.into_iter().enumerate() {
        let id = format!("evt_rolling_{number}");
        let body = event(&id);
        let time = now();
        let right = sign(secret, time, body.as_bytes());
        let wrong = sign("whsec_gone", time, body.as_bytes());
        for signatures in
            [format!("v1={right}"), format!("v1={wrong},v1={right}"), format!("v1={right},v1={wrong},v0=ab")]
        {
            let header = format!("t={time},{signatures}");
            let response = deliver(stack, Some(&header), body.as_bytes()).await;
            assert_eq!(response.status, 200, "{header}: {}", response.body);
        }
        assert_eq!(kept(stack, &id).await, (1, 1));
    }
}

/// Fault 22: a signature that is forged, old or missing; two while a secret rolls.
pub async fn a_forged_event_is_refused_and_leaves_no_trace(stack: &Stack) {
    let body = event("evt_forged");
    let secret = SECRETS[0];
    let (time, bytes) = (now(), body.as_bytes());
    let right = sign(secret, time, bytes);
    let old = time - 301;
    let headers = [
        None,
        Some(String::new()),
        Some(format!("t={time}")),
        Some(format!("v1={right}")),
        Some(format!("t={time},v0={right}")),
        Some(format!("t={},v1={right}", time + 1)),
        Some(format!("t=x,v1={right}")),
        Some(format!("t={time},v1={}", &right[1..])),
        Some(format!("t={time},v1=")),
        Some(format!("t={time},v1={}", sign("whsec_wrong", time, bytes))),
        Some(format!("t={time},v1={}", sign("", time, bytes))),
        Some(format!("t={time},v1={}", sign(&SECRETS.join(", "), time, bytes))),
        Some(format!("t={time},v1={}", sign(secret, time, b""))),
        Some(format!("t={old},v1={}", sign(secret, old, bytes))),
        Some(format!("t=0,v1={}", sign(secret, 0, bytes))),
    ];
    for header in headers {
        let response = deliver(stack, header.as_deref(), bytes).await;
        assert_eq!(response.status, 400, "{header:?}: {}", response.body);
    }
    // Tampered with on the way, if only by a space.
    for tampered in [body.replace("evt_forged", "evt_tampered"), format!("{body} "), String::new()] {
        let header = format!("t={time},v1={right}");
        let response = deliver(stack, Some(&header), tampered.as_bytes()).await;
        assert_eq!(response.status, 400, "{tampered}: {}", response.body);
    }
    assert_eq!(kept(stack, "evt_forged").await, (0, 0));
    assert_eq!(kept(stack, "evt_tampered").await, (0, 0));

    // Signed well, and still no event: there is nothing to keep it under.
    for body in ["", "{}", "[]", "null", "{\"id\":7}", "not JSON"] {
        deliver_signed(stack, body, 400).await;
    }
}

/// Fault 23: a genuine event of an unknown type or a newer version.
pub async fn an_event_of_any_version_and_type_is_accepted_and_kept(stack: &Stack) {
    let drifted = [
        json!({ "id": "evt_a", "type": "invoice.shipped_to_mars", "api_version": "2031-01-01.zinnia", "data": [] }),
        json!({ "id": "evt_b", "object": "v2.core.event", "type": "v2.core.account.updated", "related_object": {} }),
        json!({ "id": "evt_c", "type": "customer.subscription.updated", "data": { "object": { "customer": null } } }),
        json!({ "id": "evt_d", "type": "customer.subscription.updated", "data": "moved", "new": [[[]]] }),
        json!({ "id": "evt_e", "type": "invoice.paid", "data": { "object": { "customer": ["cus_1"] } } }),
        json!({ "id": "evt_f" }),
    ];
    for event in drifted {
        let body = format!(" {event}\n");
        deliver_signed(stack, &body, 200).await;
        let id = event["id"].as_str().unwrap();
        assert_eq!(kept(stack, id).await, (1, 1), "{id}");
    }
}

/// Fault 55: a genuine Stripe event of another account, or about an unknown customer.
pub async fn an_event_about_nobody_here_is_accepted_and_kept_and_stripe_is_not_asked(stack: &Stack) {
    let asked = calls(stack, "GET /v1/").await;
    let object = json!({ "id": "sub_1", "customer": "cus_of_another_account", "status": "active" });
    for (id, more) in [("evt_unknown", json!(null)), ("evt_connect", json!("acct_1"))] {
        let event = json!({ "id": id, "type": "customer.subscription.updated", "account": more,
            "data": { "object": object } });
        for _ in 0..2 {
            deliver_signed(stack, &event.to_string(), 200).await;
        }
        assert_eq!(kept(stack, id).await, (1, 1), "{id}");
    }
    assert_eq!(calls(stack, "GET /v1/").await, asked);

    // An event of a connected account is not about our customer, even if the id were the same.
    let user = stack.user().await;
    user.become_pro().await;
    let asked = calls(stack, "GET /v1/").await;
    let object = json!({ "customer": user.customer().await });
    let event = json!({ "id": "evt_connected", "type": "customer.subscription.deleted", "account": "acct_1",
        "data": { "object": object } });
    deliver_signed(stack, &event.to_string(), 200).await;
    assert_eq!(calls(stack, "GET /v1/").await, asked);
}

pub async fn a_nul_in_an_event_is_refused(stack: &Stack) {
    for event in
        [json!({ "id": "evt_\u{0}", "type": "invoice.paid" }), json!({ "id": "evt_nul", "type": "invoice.paid\u{0}" })]
    {
        deliver_signed(stack, &event.to_string(), 400).await;
    }
    let object = json!({ "customer": "\u{0}" });
    let event = json!({ "id": "evt_nul_customer", "type": "invoice.paid", "data": { "object": object } });
    deliver_signed(stack, &event.to_string(), 200).await;
}

pub async fn an_event_is_kept_without_its_content_and_goes_with_the_account(stack: &Stack) {
    let user = stack.user().await;
    user.become_pro().await;
    let object = json!({ "customer": user.customer().await, "customer_email": "ada@example.com" });
    let event = json!({ "id": "evt_private", "type": "invoice.paid", "data": { "object": object } });
    deliver_signed(stack, &event.to_string(), 200).await;
    assert_eq!(kept(stack, "evt_private").await, (1, 1));
    let named = "select count(*) from stripe_events where stripe_events::text like '%ada@example.com%'";
    assert_eq!(stack.value::<i64>(named).await, 0);
    user.leave(204).await;
    assert_eq!(kept(stack, "evt_private").await, (0, 0));
}

/// Fault 20: a Stripe event comes 20 times at once, and again.
pub async fn an_event_that_comes_twenty_times_at_once_has_one_effect(stack: &Stack) {
    let user = stack.user().await;
    user.become_pro().await;
    let customer = user.customer().await;
    // Newer versions may expand the customer.
    for (id, customer) in [("evt_many", json!(customer)), ("evt_much", json!({ "id": customer }))] {
        let object = json!({ "id": "sub_1", "customer": customer, "status": "canceled" });
        let event = json!({ "id": id, "type": "customer.subscription.deleted", "data": { "object": object } });
        let body = event.to_string();
        join_all((0..20).map(|_| deliver_signed(stack, &body, 200))).await;
        assert_eq!(kept(stack, id).await, (1, 1));
        let asked = calls(stack, "GET /v1/subscriptions").await;
        deliver_signed(stack, &body, 200).await;
        assert_eq!(calls(stack, "GET /v1/subscriptions").await, asked);
    }
    // What the event says about the subscription is not believed.
    let status = user.status().await;
    assert_eq!((&status["plan"], &status["status"]), (&json!("pro"), &json!("active")));
}

pub async fn a_body_that_came_in_base64_is_verified_as_it_was_signed(stack: &Stack) {
    let body = json!({ "id": "evt_base64", "type": "Überweisung", "data": {} }).to_string();
    let mut event = sample("stripe-webhook");
    event["headers"]["stripe-signature"] = header(SECRETS[0], body.as_bytes()).into();
    event["body"] = BASE64_STANDARD.encode(&body).into();
    event["isBase64Encoded"] = true.into();
    let response = stack.system.invoke("stripe-webhook", &event).await.unwrap();
    assert_eq!(response["statusCode"], 200, "{response}");
    assert_eq!(kept(stack, "evt_base64").await, (1, 1));

    // The signature is over the bytes, not over their base64.
    let encoded = event["body"].as_str().unwrap().to_owned();
    event["headers"]["stripe-signature"] = header(SECRETS[0], encoded.as_bytes()).into();
    let response = stack.system.invoke("stripe-webhook", &event).await.unwrap();
    assert_eq!(response["statusCode"], 400, "{response}");
}
