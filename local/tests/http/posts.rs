//! What is accepted, and what is not.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::stack::{DAILY, Stack};

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

pub async fn of_forty_parallel_posts_with_five_left_exactly_five_are_accepted(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    for number in 0..DAILY - 5 {
        user.post(&room, &format!("before {number}")).await;
    }
    let answers = join_all((0..40).map(|_| user.try_post(&room, "at once"))).await;
    let accepted = answers.iter().filter(|answer| answer.status == 202).count();
    let refused: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 429)
        .collect();
    assert_eq!((accepted, refused.len()), (5, 35));
    let headers = &refused[0].headers;
    assert_eq!(
        headers["ratelimit-policy"],
        format!("\"daily-messages\";q={DAILY};w=86400")
    );
    assert!(
        headers["ratelimit"]
            .to_str()
            .unwrap()
            .starts_with("\"daily-messages\";r=0;t=")
    );
    assert!(
        headers["retry-after"]
            .to_str()
            .unwrap()
            .parse::<u32>()
            .unwrap()
            <= 86_400
    );
    assert_eq!(i64::from(user.used().await), DAILY);
}

pub async fn twenty_equal_idempotency_keys_make_one_message(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let post = async || {
        let request = user.request(Method::POST, &format!("{room}/message"));
        let request = request.header("idempotency-key", "one");
        user.send(request.json(&json!({ "content": "once" }))).await
    };
    let answers = join_all((0..20).map(|_| post())).await;
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (202, &answers[0].body));
    }
    user.settled(answers[0].headers["location"].to_str().unwrap())
        .await;
    let later = post().await;
    assert_eq!(
        (later.status, &later.body),
        (202, &answers[0].body),
        "the answer does not change with the message"
    );
    assert_eq!(
        user.get(&room).await.body["messages"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(user.used().await, 1);
}

pub async fn an_idempotency_key_with_another_body_is_refused(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let post = async |content: &str| {
        let request = user.request(Method::POST, &format!("{room}/message"));
        let request = request.header("idempotency-key", "one");
        user.send(request.json(&json!({ "content": content })))
            .await
    };
    assert_eq!(post("first").await.status, 202);
    let answer = post("second").await;
    assert_eq!(
        (answer.status, &answer.body["type"]),
        (422, &json!("/problems/idempotency-key-reused"))
    );
    assert_eq!(user.used().await, 1);
}

pub async fn another_users_room_does_not_exist(stack: &Stack) {
    let owner = stack.user().await;
    let room = owner.room().await;
    let message = owner.post(&room, "private").await;
    let stranger = stack.user().await;
    let title = json!({ "title": "Mine" });
    let nowhere = "/chatroom/019b0000-0000-7000-8000-000000000000";
    for path in [room.as_str(), nowhere] {
        for request in [
            stranger.request(Method::GET, path),
            stranger.request(Method::PATCH, path).json(&title),
            stranger.request(Method::DELETE, path),
            stranger
                .request(Method::POST, &format!("{path}/message"))
                .json(&json!({ "content": "hi" })),
        ] {
            let answer = stranger.send(request).await;
            assert_eq!(
                (answer.status, &answer.body["detail"]),
                (404, &json!("There is no such chatroom."))
            );
        }
    }
    assert_eq!(stranger.get(&message).await.status, 404);
    let mine = stranger.room().await;
    let elsewhere = message.replace(&room, &mine);
    assert_eq!(
        stranger.get(&elsewhere).await.status,
        404,
        "a message is looked for in its own room"
    );
    assert_eq!(owner.get(&room).await.body["title"], "Test");
    assert_eq!(stranger.used().await, 0);
}
