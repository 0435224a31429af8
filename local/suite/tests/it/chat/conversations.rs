//! What is accepted, and what comes of it.

use local_suite::harness::{Response, Stack};
use reqwest::Method;
use serde_json::json;

on_every_kind!(
    a_conversation_goes_from_sign_up_to_its_second_reply,
    an_idempotency_key_gives_the_first_response_again_also_after_the_reply,
);

on!(sqs: a_location_keeps_the_base_path_of_a_custom_domain);

pub async fn a_conversation_goes_from_sign_up_to_its_second_reply(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    for content in ["Hello there", "And again"] {
        let message = user.post(&room, content).await;
        assert_eq!(user.reply(&message).await, format!("echo: {content}"));
    }
    let room = user.get(&room).await.body;
    let messages = room["messages"].as_array().unwrap().iter();
    let contents: Vec<_> = messages.map(|message| &message["content"]).collect();
    assert_eq!(contents, ["Hello there", "And again"]);
    assert_eq!(user.used().await, 2);
}

/// A client resolves a reference against the address of its request (RFC 3986, section 5).
pub async fn a_location_keeps_the_base_path_of_a_custom_domain(stack: &Stack) {
    let user = stack.user().await;
    let room = user.json(Method::POST, "/chatroom", &json!({ "title": "Lisbon" })).await;
    let message = user.try_post(&room.location(), "Hello there").await;
    for response in [room, message] {
        let local = response.location();
        let domain = format!("https://chat.example.com/v1{}", response.url.path());
        let elsewhere = Response { url: domain.parse().unwrap(), ..response };
        assert_eq!(elsewhere.location(), format!("/v1{local}"));
    }
}

/// Faults 4 and 5; the races are tested beside `message-send`.
pub async fn an_idempotency_key_gives_the_first_response_again_also_after_the_reply(stack: &Stack) {
    let user = stack.user().await;
    let path = format!("{}/message", user.room().await);
    let post = async |content: &str| {
        let request = user.request(Method::POST, &path);
        let request = request.header("idempotency-key", "one");
        user.send(request.json(&json!({ "content": content }))).await
    };
    let first = post("once").await;
    user.reply(&first.location()).await;
    let again = post("once").await;
    assert_eq!((again.status, again.body), (202, first.body));
    let other = post("twice").await;
    assert_eq!(other.problem(), (422, "idempotency-key-reused"));
    assert_eq!(user.used().await, 1);
}
