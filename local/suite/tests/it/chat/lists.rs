//! The list of chatrooms, which is cached and yet never behind.

use futures_util::{StreamExt, stream};
use local_suite::harness::{Stack, User, text};

on_every_kind!(a_list_never_lacks_a_room_whose_creation_was_answered, a_message_moves_its_room_to_the_top_of_the_list);

async fn list(user: &User<'_>) -> Vec<String> {
    let response = user.get("/chatroom?limit=100").await;
    assert_eq!(response.status, 200);
    let items = response.body["items"].as_array().unwrap().iter();
    items.map(|room| format!("/chatroom/{}", text(&room["id"]))).collect()
}

pub async fn a_list_never_lacks_a_room_whose_creation_was_answered(stack: &Stack) {
    let user = &stack.user().await;
    // Two hundred requests, half of them creations, with others always on the way.
    stream::iter(0..100)
        .for_each_concurrent(8, |_| async move {
            let room = user.room().await;
            let rooms = list(user).await;
            assert!(rooms.contains(&room), "{room} was created, but is not in the list");
        })
        .await;
    assert_eq!(list(user).await.len(), 100);
}

pub async fn a_message_moves_its_room_to_the_top_of_the_list(stack: &Stack) {
    let user = stack.user().await;
    let first = user.room().await;
    let second = user.room().await;
    assert_eq!(list(&user).await, [second.clone(), first.clone()]);
    user.post(&first, "hello").await;
    assert_eq!(list(&user).await, [first, second]);
}
