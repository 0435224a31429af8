//! Tests that a time of a response has the same width whatever its fraction: a tenth of them ends in a nought, which a
//! format of its own length would leave out.

use serde_json::json;
use shared::domain::{Chatroom, ChatroomId, Message, MessageId, Plan, Reply, User, UserId};
use time::macros::datetime;

#[test]
fn every_time_of_a_response_has_six_digits_of_a_second() {
    let whole = datetime!(2026-11-23 00:00 UTC);
    let room = Chatroom { id: ChatroomId::new(), title: "a".into(), created_at: whole, active_at: whole };
    let mut message = Message::accepted(MessageId::new(), room.id, "a".into(), whole);
    message.reply = Some(Reply { content: "a".into(), model: None, finish_reason: "STOP".into(), created_at: whole });
    let user = User {
        id: UserId::new(),
        mobile: "+15550109999".into(),
        name: None,
        email: None,
        plan: Plan::Basic,
        created_at: whole,
    };
    let written = json!([room, message, user]).to_string();
    assert_eq!(written.matches("2026-11-23T").count(), 5, "{written}");
    assert_eq!(written.matches("\"2026-11-23T00:00:00.000000Z\"").count(), 5, "{written}");
}
