//! Tests fault 32: the state store is away.

use local_suite::{
    harness::{Sent, Stack, User},
    proxy::Proxy,
};
use serde_json::json;

use crate::stops::{behind_proxies, swept};

on_every_kind!(without_queue_and_state_store_chat_goes_on_and_codes_do_not);

async fn rooms(user: &User<'_>) -> usize {
    let list = user.get("/chatroom").await.body;
    list["items"].as_array().unwrap().len()
}

/// Fault 32: the state store is down.
pub async fn without_queue_and_state_store_chat_goes_on_and_codes_do_not(stack: &Stack) {
    let (stack, lines) = behind_proxies(stack).await;
    let user = stack.user().await;
    user.room().await;
    assert_eq!(rooms(&user).await, 1);
    lines.iter().for_each(Proxy::cut);
    let room = user.room().await;
    let message = user.post(&room, "hello").await;
    assert_eq!(rooms(&user).await, 2, "the cache is bypassed");
    let found = user.get(&format!("{message}?wait=1")).await.expect(200);
    assert_eq!(found["status"], "queued", "whoever waits is not counted");
    for path in ["/auth/signup", "/auth/send-otp", "/auth/forgot-password"] {
        let response = stack.post(path, &json!({ "mobile": stack.mobile() })).await;
        assert_eq!(response.status, 503, "{path}");
        assert!(response.headers.contains_key("retry-after"));
    }
    let mobile = stack.mobile();
    let sent = Sent { challenge: "A".repeat(22), code: "123456".into() };
    assert_eq!(stack.verify(&mobile, &sent).await.status, 503);
    let login = json!({ "mobile": mobile, "password": "correct horse battery" });
    assert_eq!(stack.post("/auth/login", &login).await.status, 503);
    assert!(lines.iter().map(Proxy::broken).sum::<usize>() > 0);

    lines.iter().for_each(Proxy::heal);
    assert_eq!(swept(&stack, &user, &message).await["status"], "answered");
    stack.user().await;
}
