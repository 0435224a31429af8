//! Tests each field's type, length and form, at the limit and one beyond.

use reqwest::Method;
use serde_json::{Value, json};

use local_suite::harness::{Stack, contract::CONTRACT, text};

use super::{INVALID, Sender, fields};

on!(redis:
    a_value_of_another_type_is_refused_with_the_field_named,
    every_wrong_field_of_a_body_is_named_at_once,
    a_text_is_as_long_as_its_schema_says_and_no_longer_at_every_endpoint,
    a_title_and_a_message_come_back_as_they_were_sent,
);

/// Sends the example of every endpoint that has the field, with this value instead.
pub async fn refused_everywhere(sender: &Sender<'_>, field: &str, values: &[Value]) {
    let mut endpoints = 0;
    for (endpoint, schema, example) in sender.json_endpoints() {
        if schema["properties"].get(field).is_none() {
            continue;
        }
        for value in values {
            let mut body = example.clone();
            body[field] = value.clone();
            let response = sender.send_body(&endpoint, body.to_string()).await;
            let context = format!("{} {field}: {value}", endpoint.path);
            assert_eq!((response.problem(), fields(&response)), (INVALID, vec![field]), "{context}");
        }
        endpoints += 1;
    }
    assert!(endpoints > 0, "no endpoint has {field}");
}

pub async fn a_value_of_another_type_is_refused_with_the_field_named(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    for (endpoint, schema, example) in sender.json_endpoints() {
        for (name, expected) in schema["properties"].as_object().unwrap() {
            for value in [json!(null), json!(true), json!(7), json!(0.5), json!("no"), json!([]), json!({})] {
                let right_type = value.is_string() && !expected_type(expected).contains("boolean");
                if right_type || CONTRACT.errors(expected, &value).is_empty() {
                    continue;
                }
                let mut body = example.clone();
                body[name] = value.clone();
                let response = sender.send_body(&endpoint, body.to_string()).await;
                let context = format!("{} {name}: {value}", endpoint.path);
                assert_eq!((response.problem(), fields(&response)), (INVALID, vec![name.as_str()]), "{context}");
            }
        }
    }
}

fn expected_type(schema: &Value) -> String {
    CONTRACT.resolve(schema)["type"].to_string()
}

pub async fn every_wrong_field_of_a_body_is_named_at_once(stack: &Stack) {
    let signup = json!({ "surplus": 1, "mobile": "555", "email": 7, "name": " " });
    let response = stack.post("/auth/signup", &signup).await;
    let expected = vec!["mobile", "name", "email", "surplus"];
    assert_eq!((response.problem(), fields(&response)), (INVALID, expected));
    let message = &response.body["errors"][2]["message"];
    assert_eq!(message, "must be text", "not in serde's words");
}

/// The schema says how long a text may be. What else a number, a code, a title, a name and an address must be is tested
/// where they are parsed: `shared::domain`.
pub async fn a_text_is_as_long_as_its_schema_says_and_no_longer_at_every_endpoint(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    let mut limits = 0;
    for (endpoint, schema, example) in sender.json_endpoints() {
        for (name, field) in schema["properties"].as_object().unwrap() {
            let field = CONTRACT.resolve(field);
            // A secret that is only compared has no least length, and one that is too long is a wrong one.
            let (Some(_), Some(longest)) = (field["minLength"].as_u64(), field["maxLength"].as_u64()) else {
                continue;
            };
            let longest = usize::try_from(longest).unwrap();
            for value in [String::new(), "𝕏".repeat(longest + 1), "a\0b".to_owned()] {
                let mut body = example.clone();
                body[name] = json!(value);
                let response = sender.send_body(&endpoint, body.to_string()).await;
                let context = format!("{} {name}: {value:.9}", endpoint.path);
                assert_eq!((response.problem(), fields(&response)), (INVALID, vec![name.as_str()]), "{context}");
            }
            limits += 1;
        }
    }
    assert!(limits >= 8, "the limits were found: {limits}");
}

pub async fn a_title_and_a_message_come_back_as_they_were_sent(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    for title in [" a ".to_owned(), "👩".repeat(100), "a\u{202e}\n\tb".into()] {
        let created = sender.post("/chatroom", &json!({ "title": title })).await;
        assert_eq!((created.status, text(&created.body["title"])), (201, title.as_str()));
        let path = format!("/chatroom/{}", text(&created.body["id"]));
        let update = sender.user.request(Method::PATCH, &path);
        let updated = sender.user.send(update.json(&json!({ "title": title }))).await;
        assert_eq!((updated.status, text(&updated.body["title"])), (200, title.as_str()));
    }
    let path = format!("{}/message", sender.room);
    for content in [" .\u{1b}".to_owned(), "𝕏".repeat(16_000)] {
        let accepted = sender.post(&path, &json!({ "content": content })).await;
        assert_eq!((accepted.status, text(&accepted.body["content"])), (202, content.as_str()));
    }
}
