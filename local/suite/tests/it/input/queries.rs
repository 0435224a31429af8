//! Tests query values and the Idempotency-Key.

use reqwest::{Method, Url, header::HeaderValue};
use serde_json::json;

use local_suite::harness::{Stack, text};

use super::{INVALID, MALFORMED, Sender, fields};

on!(sqs:
    a_page_has_1_to_100_items,
    an_order_is_asc_or_desc,
    an_unknown_query_parameter_is_refused_at_every_endpoint_and_named,
    a_wait_has_0_to_20_seconds,
    a_cursor_works_for_the_list_that_gave_it_and_no_other,
    an_idempotency_key_has_1_to_255_visible_characters,
);

pub async fn a_page_has_1_to_100_items(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    for path in ["/chatroom".into(), sender.room.clone()] {
        for limit in ["0", "101", "-1", "", "x", "1.5", "1e1", "0x10", "%201", "99999999999999999999", "%D9%A1"] {
            let response = sender.user.get(&format!("{path}?limit={limit}")).await;
            assert_eq!((response.problem(), fields(&response)), (INVALID, vec!["limit"]), "{path} {limit}");
        }
        for limit in ["1", "100"] {
            assert_eq!(sender.user.get(&format!("{path}?limit={limit}")).await.status, 200);
        }
    }
}

pub async fn an_order_is_asc_or_desc(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    for order in ["", "ASC", "newest", "asc,desc", "%00"] {
        let path = format!("{}?order={order}", sender.room);
        let response = sender.user.get(&path).await;
        assert_eq!((response.problem(), fields(&response)), (INVALID, vec!["order"]), "{order}");
    }
}

pub async fn an_unknown_query_parameter_is_refused_at_every_endpoint_and_named(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    for endpoint in sender.endpoints() {
        for (query, names) in [("limits=1", vec!["limits"]), ("x", vec!["x"])] {
            let path = format!("{}?{query}", endpoint.path);
            let request = sender.user.request(endpoint.method.clone(), &path);
            let response = sender.user.send(request).await;
            if endpoint.method == Method::HEAD {
                assert_eq!(response.status, 422, "HEAD {path}, which has no body to name it in");
                continue;
            }
            assert_eq!((response.problem(), fields(&response)), (INVALID, names), "{} {path}", endpoint.method);
        }
    }
}

pub async fn a_wait_has_0_to_20_seconds(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    let path = sender.user.post(&sender.room, "Hello").await;
    sender.user.reply(&path).await;
    for wait in ["21", "-1", "", "x", "0.5", "99999999999999999999"] {
        let response = sender.user.get(&format!("{path}?wait={wait}")).await;
        assert_eq!((response.problem(), fields(&response)), (INVALID, vec!["wait"]), "{wait}");
    }
    for wait in ["20", "0"] {
        let response = sender.user.get(&format!("{path}?wait={wait}")).await;
        assert_eq!((response.status, &response.body["status"]), (200, &json!("answered")), "{wait}");
    }
}

/// Gets the cursor of a page of one; the list goes on after it.
async fn cursor(sender: &Sender<'_>, path: &str) -> String {
    let page = sender.user.get(&format!("{path}?limit=1")).await;
    text(&page.body["next_cursor"]).to_owned()
}

/// Signs up a user with two rooms, and two messages in the first.
async fn busy_user(stack: &Stack) -> Sender<'_> {
    let sender = Sender::new(stack).await;
    sender.user.room().await;
    for content in ["one", "two"] {
        sender.user.post(&sender.room, content).await;
    }
    sender
}

pub async fn a_cursor_works_for_the_list_that_gave_it_and_no_other(stack: &Stack) {
    let (sender, other) = (busy_user(stack).await, busy_user(stack).await);
    let room = sender.room.as_str();
    let rooms_cursor = cursor(&sender, "/chatroom").await;
    let messages_cursor = cursor(&sender, room).await;
    let others_rooms_cursor = cursor(&other, "/chatroom").await;
    let others_messages_cursor = cursor(&other, &other.room).await;

    let get = async |path: &str, cursor: &str| {
        let url = Url::parse_with_params("http://host", [("cursor", cursor)]).unwrap();
        sender.user.get(&format!("{path}?{}", url.query().unwrap())).await
    };
    assert_eq!(get("/chatroom", &rooms_cursor).await.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(get(room, &messages_cursor).await.body["messages"].as_array().unwrap().len(), 1);
    let other_order = format!("{room}?order=desc&cursor={messages_cursor}");
    let response = sender.user.get(&other_order).await;
    assert_eq!(response.problem(), MALFORMED, "a cursor of the other order");

    // How a cursor is written is tested where it is read; these are whole ones, of another list or another user.
    for (path, good) in [("/chatroom", &rooms_cursor), (room, &messages_cursor)] {
        let all = [&rooms_cursor, &messages_cursor, &others_rooms_cursor, &others_messages_cursor];
        for cursor in all.into_iter().filter(|cursor| *cursor != good).chain([&good[1..].to_owned()]) {
            assert_eq!(get(path, cursor).await.problem(), MALFORMED, "{path} {cursor}");
        }
    }
}

pub async fn an_idempotency_key_has_1_to_255_visible_characters(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    let path = format!("{}/message", sender.room);
    let post = async |key: &[u8]| {
        let request = sender.user.request(Method::POST, &path);
        let key = HeaderValue::from_bytes(key).unwrap();
        let request = request.header("idempotency-key", key);
        sender.user.send(request.json(&json!({ "content": "Hello" }))).await
    };
    let long = "k".repeat(256);
    for key in ["", "a b", "a\tb", long.as_str()] {
        assert_eq!(post(key.as_bytes()).await.problem(), MALFORMED, "{key:?}");
    }
    for key in ["!", "~", "a,b;c=\"d\"", &long[1..]] {
        assert_eq!(post(key.as_bytes()).await.status, 202, "{key:?}");
    }
}
