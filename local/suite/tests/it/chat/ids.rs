//! Ids that name nothing, or something of somebody else's: always the same 404.

use reqwest::Method;
use serde_json::Value;

use local_suite::harness::{Response, Stack, User, contract::operations};

use crate::stops::id;

on!(sqs:
    an_id_that_is_none_or_that_nothing_has_is_not_found,
    what_belongs_to_somebody_else_cannot_be_told_from_what_does_not_exist,
);

/// A UUIDv7 that nothing has.
const UNKNOWN: &str = "019b0000-0000-7000-8000-000000000003";

const NOT_FOUND: (u16, &str) = (404, "not-found");

/// Every operation of the contract that names a room or a session, about the room's id and this message.
fn requests(room: &str, message: &str) -> Vec<(Method, String, Value)> {
    let named = operations().filter(|operation| operation.path.contains("/{id}"));
    let requests = named.map(|operation| {
        let path = operation.path.replace("{id}", room).replace("{message_id}", message);
        (operation.method, path, operation.content["requestBody"]["content"]["application/json"]["example"].clone())
    });
    requests.collect()
}

async fn ask(user: &User<'_>, method: &Method, path: &str, body: &Value) -> Response {
    let request = user.request(method.clone(), path);
    let request = if body.is_null() { request } else { request.json(body) };
    let response = user.send(request).await;
    assert_eq!(response.problem(), NOT_FOUND, "{method} {path}");
    response
}

pub async fn an_id_that_is_none_or_that_nothing_has_is_not_found(stack: &Stack) {
    let user = stack.user().await;
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
        for (method, path, body) in requests(id, UNKNOWN) {
            ask(&user, &method, &path, &body).await;
        }
    }
    let own = user.room().await;
    for (method, path, body) in requests(id(&own), "x").into_iter().filter(|(_, path, _)| path.contains("/x")) {
        ask(&user, &method, &path, &body).await;
    }
}

/// Fault 30: another user's room or message.
pub async fn what_belongs_to_somebody_else_cannot_be_told_from_what_does_not_exist(stack: &Stack) {
    let (owner, stranger) = (stack.user().await, stack.user().await);
    let room = owner.room_named("Trip to Lisbon").await;
    let message = owner.post(&room, "private").await;

    let foreign = requests(id(&room), id(&message));
    let unknown = requests(UNKNOWN, UNKNOWN);
    for ((method, path, body), (_, nowhere, _)) in foreign.into_iter().zip(unknown) {
        let comparable = async |path: &str| {
            let mut response = ask(&stranger, &method, path, &body).await;
            response.body["request_id"] = Value::Null;
            for differing in ["date", "content-length"] {
                response.headers.remove(differing);
            }
            (response.headers, response.body)
        };
        assert_eq!(comparable(&path).await, comparable(&nowhere).await, "{method}");
    }
    let own = stranger.room().await;
    let through_own_room =
        requests(id(&own), id(&message)).into_iter().filter(|(_, path, _)| path.contains(id(&message)));
    for (method, path, body) in through_own_room {
        ask(&stranger, &method, &path, &body).await;
    }

    let room = owner.get(&room).await;
    assert_eq!(room.body["title"], "Trip to Lisbon", "it is as it was");
    assert_eq!(room.body["messages"].as_array().unwrap().len(), 1, "it is as it was");
}
