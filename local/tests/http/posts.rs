//! What is accepted, and what is not.

use crate::stack::Stack;

pub async fn a_conversation_goes_from_sign_up_to_its_second_reply(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    for content in ["Hello there", "And again"] {
        let message = user.post(&room, content).await;
        let settled = user.settled(&message).await;
        assert_eq!(settled["status"], "answered");
        assert_eq!(settled["reply"]["content"], format!("echo: {content}"));
    }
    let room = user.get(&room).await.body;
    let contents: Vec<_> = room["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| &message["content"])
        .collect();
    assert_eq!(contents, ["Hello there", "And again"]);
    assert_eq!(user.used().await, 2);
}
