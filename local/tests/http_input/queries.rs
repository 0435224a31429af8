//! Query values and the Idempotency-Key.

use reqwest::{Method, Url, header::HeaderValue};
use serde_json::json;

use crate::stack::{INVALID, MALFORMED, Stack, User, fields, problem, run, text};

#[test]
fn a_page_has_1_to_100_items() {
    run(async |stack| {
        for path in ["/chatroom".into(), format!("/chatroom/{}", stack.user.room)] {
            for limit in [
                "0",
                "101",
                "-1",
                "",
                "x",
                "1.5",
                "1e1",
                "0x10",
                "%201",
                "99999999999999999999",
                "%D9%A1",
            ] {
                let answer = stack.get(&format!("{path}?limit={limit}")).await;
                assert_eq!(
                    (problem(&answer), fields(&answer)),
                    (INVALID, vec!["limit"]),
                    "{path} {limit}"
                );
            }
            for limit in ["1", "100"] {
                assert_eq!(
                    stack.get(&format!("{path}?limit={limit}")).await.status,
                    200
                );
            }
        }
    });
}

#[test]
fn a_wait_has_0_to_20_seconds() {
    run(async |stack| {
        let messages = format!("/chatroom/{}/message", stack.user.room);
        let message = stack.post(&messages, &json!({ "content": "Hello" })).await;
        let path = format!("{messages}/{}", text(&message.body["id"]));
        for wait in ["21", "-1", "", "x", "0.5", "99999999999999999999"] {
            let answer = stack.get(&format!("{path}?wait={wait}")).await;
            assert_eq!(
                (problem(&answer), fields(&answer)),
                (INVALID, vec!["wait"]),
                "{wait}"
            );
        }
        for wait in ["20", "0"] {
            let answer = stack.get(&format!("{path}?wait={wait}")).await;
            assert_eq!(
                (answer.status, &answer.body["status"]),
                (200, &json!("answered")),
                "{wait}"
            );
        }
    });
}

/// The cursor of a page of one; the list goes on after it.
async fn cursor(stack: &Stack, user: &User, path: &str) -> String {
    let request = stack.request(Method::GET, &format!("{path}?limit=1"));
    let page = stack.send(request.bearer_auth(&user.token)).await;
    text(&page.body["next_cursor"])
}

/// Somebody with two rooms, and two messages in the first.
async fn busy_user(stack: &Stack) -> User {
    let user = stack.new_user().await;
    let messages = format!("/chatroom/{}/message", user.room);
    for (path, body) in [
        ("/chatroom", json!({ "title": "Trip to Porto" })),
        (&messages, json!({ "content": "one" })),
        (&messages, json!({ "content": "two" })),
    ] {
        let request = stack.request(Method::POST, path).bearer_auth(&user.token);
        stack.send(request.json(&body)).await;
    }
    user
}

#[test]
fn a_cursor_works_for_the_list_that_gave_it_and_no_other() {
    run(async |stack| {
        let (user, other) = (busy_user(stack).await, busy_user(stack).await);
        let room = format!("/chatroom/{}", user.room);
        let others_room = format!("/chatroom/{}", other.room);
        let rooms_cursor = cursor(stack, &user, "/chatroom").await;
        let messages_cursor = cursor(stack, &user, &room).await;
        let others_rooms_cursor = cursor(stack, &other, "/chatroom").await;
        let others_messages_cursor = cursor(stack, &other, &others_room).await;

        let get = async |path: &str, cursor: &str| {
            let url =
                Url::parse_with_params(&stack.system.url(path), [("cursor", cursor)]).unwrap();
            let request = stack.system.client().get(url);
            stack.send(request.bearer_auth(&user.token)).await
        };
        assert_eq!(
            get("/chatroom", &rooms_cursor).await.body["items"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
        assert_eq!(
            get(&room, &messages_cursor).await.body["messages"]
                .as_array()
                .unwrap()
                .len(),
            1
        );

        for (path, good) in [
            ("/chatroom", &rooms_cursor),
            (room.as_str(), &messages_cursor),
        ] {
            let mut forged = vec![
                String::new(),
                "x".into(),
                "AAAA".into(),
                "AAAAAAAAAAAA".into(),
                "\0".into(),
                "ж".into(),
                "a".repeat(4_000),
                format!("{good}A"),
                good[1..].into(),
                good[..good.len() - 1].into(),
                others_rooms_cursor.clone(),
                others_messages_cursor.clone(),
            ];
            forged.extend(
                [&rooms_cursor, &messages_cursor]
                    .into_iter()
                    .filter(|it| *it != good)
                    .cloned(),
            );
            for at in [0, good.len() / 2, good.len() - 2] {
                let mut changed = good.clone().into_bytes();
                changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
                forged.push(String::from_utf8(changed).unwrap());
            }
            for cursor in forged {
                assert_eq!(
                    problem(&get(path, &cursor).await),
                    MALFORMED,
                    "{path} {cursor}"
                );
            }
        }
    });
}

#[test]
fn an_idempotency_key_has_1_to_255_visible_characters() {
    run(async |stack| {
        let path = format!("/chatroom/{}/message", stack.user.room);
        let post = async |key: &[u8]| {
            let request = stack
                .request(Method::POST, &path)
                .bearer_auth(&stack.user.token);
            let key = HeaderValue::from_bytes(key).unwrap();
            let request = request.header("idempotency-key", key);
            stack
                .send(request.json(&json!({ "content": "Hello" })))
                .await
        };
        let long = "k".repeat(256);
        for key in ["", "a b", "a\tb", long.as_str()] {
            assert_eq!(problem(&post(key.as_bytes()).await), MALFORMED, "{key:?}");
        }
        for key in ["!", "~", "a,b;c=\"d\"", &long[1..]] {
            assert_eq!(post(key.as_bytes()).await.status, 202, "{key:?}");
        }
    });
}
