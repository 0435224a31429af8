//! Replies while they are written, by whoever is there.

use local::harness::Stack;
use serde_json::json;

use super::client::{Client, Ended, open, position, post};

/// A text whose pieces end between characters of one to four bytes.
pub const TEXT: &str = "Grüße aus Köln 🌉🚋 — 上海和东京 ✨ naïve café";

pub async fn words_come_as_the_model_writes_them_and_the_end_is_what_is_stored(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let prompt = format!("live {}", user.id);
    let slow = json!([{ "match": prompt, "text": TEXT, "pieces": 8, "pause_ms": 150 }]);
    stack.script(&slow).await;
    let mut stream = open(post(&user, &room, &prompt, None)).await;

    let mut client = Client::default();
    while client.text.is_empty() {
        client.take(stream.next().await.unwrap());
    }
    let path = format!("{room}/message/{}", position(&client.position).0);
    let meanwhile = user.get(&path).await.expect(200);
    assert_eq!(
        meanwhile["status"], "answering",
        "the first words come first"
    );

    let (rest, ended) = stream.rest().await;
    for event in rest {
        client.take(event);
    }
    assert_eq!(ended, Ended::Done);
    let stored = user.get(&path).await.expect(200);
    assert_eq!(stored["reply"]["content"], TEXT);
    assert_eq!(client.text, TEXT);
    let kinds: Vec<_> = client
        .events
        .iter()
        .map(|event| event["type"].clone())
        .collect();
    let deltas = vec![json!("text-delta"); kinds.len() - 4];
    let expected = [
        vec![json!("start"), json!("text-start")],
        deltas,
        vec![json!("text-end"), json!("finish")],
    ];
    assert_eq!(kinds, expected.concat());
    assert!(kinds.len() > 9, "a piece is an event");
    assert_eq!(client.events.last().unwrap()["finishReason"], "stop");
    assert_eq!(stack.calls(&prompt).await.len(), 1);
    assert_eq!(user.used().await, 1);
}
