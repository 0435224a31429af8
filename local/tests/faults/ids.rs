//! Ids that name nothing, or something of somebody else's: always the same 404.

use reqwest::Method;
use serde_json::{Value, json};

use crate::input::{Stack, problem, run, text};

/// A UUIDv7 that nothing has.
const UNKNOWN: &str = "019b0000-0000-7000-8000-000000000003";

const NOT_FOUND: (u16, &str) = (404, "not-found");

/// What can be asked of a room, and of a message in it.
fn requests(room: &str, message: &str) -> [(Method, String, Value); 5] {
    [
        (Method::GET, format!("/chatroom/{room}"), Value::Null),
        (
            Method::PATCH,
            format!("/chatroom/{room}"),
            json!({ "title": "taken over" }),
        ),
        (
            Method::POST,
            format!("/chatroom/{room}/message"),
            json!({ "content": "from outside" }),
        ),
        (
            Method::GET,
            format!("/chatroom/{room}/message/{message}"),
            Value::Null,
        ),
        (Method::DELETE, format!("/chatroom/{room}"), Value::Null),
    ]
}

async fn all_not_found(stack: &Stack, room: &str, message: &str) {
    for (method, path, body) in requests(room, message) {
        let request = stack
            .request(method.clone(), &path)
            .bearer_auth(&stack.user.token);
        let request = if body.is_null() {
            request
        } else {
            request.json(&body)
        };
        assert_eq!(
            problem(&stack.send(request).await),
            NOT_FOUND,
            "{method} {path}"
        );
    }
}

#[test]
fn an_id_that_is_none_or_that_nothing_has_is_not_found() {
    run(async |stack| {
        for id in [
            UNKNOWN,
            "x",
            "0",
            "null",
            "00000000-0000-0000-0000-000000000000",
            "0d2f6a0c-4e11-4c67-9a53-019b00000000",
            "019b0000-0000-7000-8000-00000000000",
            "019b0000-0000-7000-8000-0000000000033",
            "019b0000-0000-7000-8000-00000000000g",
            "%00",
            "%ff",
            "%F0%9F%92%A9",
            "'%20or%201=1--",
            &"a".repeat(4_000),
        ] {
            all_not_found(stack, id, UNKNOWN).await;
        }
        let path = format!("/chatroom/{}/message/x", stack.user.room);
        assert_eq!(problem(&stack.get(&path).await), NOT_FOUND);
    });
}

/// Row 30.
#[test]
fn what_belongs_to_somebody_else_cannot_be_told_from_what_does_not_exist() {
    run(async |stack| {
        let owner = stack.new_user().await;
        let messages = format!("/chatroom/{}/message", owner.room);
        let post = stack
            .request(Method::POST, &messages)
            .bearer_auth(&owner.token);
        let message = stack
            .send(post.json(&json!({ "content": "private" })))
            .await;
        let message = text(&message.body["id"]);

        let foreign = requests(&owner.room, &message);
        let unknown = requests(UNKNOWN, UNKNOWN);
        for ((method, path, body), (_, nowhere, _)) in foreign.into_iter().zip(unknown) {
            let answer = async |path: &str| {
                let request = stack
                    .request(method.clone(), path)
                    .bearer_auth(&stack.user.token);
                let request = if body.is_null() {
                    request
                } else {
                    request.json(&body)
                };
                let mut answer = stack.send(request).await;
                assert_eq!(problem(&answer), NOT_FOUND, "{method} {path}");
                answer.body["request_id"] = Value::Null;
                for differing in ["date", "content-length"] {
                    answer.headers.remove(differing);
                }
                (answer.headers, answer.body)
            };
            assert_eq!(answer(&path).await, answer(&nowhere).await, "{method}");
        }
        let mine = format!("/chatroom/{}/message/{message}", stack.user.room);
        assert_eq!(
            problem(&stack.get(&mine).await),
            NOT_FOUND,
            "not through a room of one's own"
        );

        let get = stack.request(Method::GET, &format!("/chatroom/{}", owner.room));
        let room = stack.send(get.bearer_auth(&owner.token)).await;
        assert_eq!(room.body["title"], "Trip to Lisbon", "it is as it was");
        assert_eq!(
            room.body["messages"].as_array().unwrap().len(),
            1,
            "it is as it was"
        );
    });
}
