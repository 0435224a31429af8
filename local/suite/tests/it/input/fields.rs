//! Tests each field's type, length and form, at the limit and one beyond.

use reqwest::Method;
use serde_json::{Value, json};

use local_suite::harness::{Stack, contract::CONTRACT, text};

use super::{INVALID, Sender, fields};

on!(redis:
    a_value_of_another_type_is_refused_with_the_field_named,
    what_is_no_mobile_number_is_refused_wherever_one_is_asked_for,
    what_is_no_code_of_six_digits_is_refused_wherever_one_is_asked_for,
    a_title_has_1_to_100_characters_of_any_script_and_is_not_blank,
    every_wrong_field_of_a_body_is_named_at_once,
    a_message_has_1_to_16000_characters_of_any_script,
    a_name_has_1_to_100_characters_and_an_address_an_at_sign,
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

pub async fn what_is_no_mobile_number_is_refused_wherever_one_is_asked_for(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    let values = [
        "",
        "+",
        "15550109999",
        "+05550109999",
        "+123456",
        "+1234567890123456",
        "+1555O109999",
        "++15550109999",
        "+1.555.010.9999",
        "+1 555 010 9999 ext 1",
        "+1555\u{661}109999",
        "+1555\u{0}109999",
        "+1555\n0109999",
    ];
    refused_everywhere(sender, "mobile", &values.map(Value::from)).await;
}

pub async fn what_is_no_code_of_six_digits_is_refused_wherever_one_is_asked_for(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    let values = ["", "12345", "1234567", "12345a", "12 345", " 12345", "+12345", "١٢٣٤٥٦"];
    refused_everywhere(sender, "otp", &values.map(Value::from)).await;
}

pub async fn a_title_has_1_to_100_characters_of_any_script_and_is_not_blank(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    let refused = [
        String::new(),
        "a".repeat(101),
        "ж".repeat(101),
        " \n\u{a0}".into(),
        "\u{200b}\u{2060}".into(),
        "a\0b".into(),
        "a\u{1b}b".into(),
        "a\u{85}b".into(),
    ];
    refused_everywhere(sender, "title", &refused.map(Value::from)).await;

    for title in ["a".to_owned(), " a ".into(), "ж".repeat(100), "👩".repeat(100), "a\u{202e}\n\tb".into()] {
        let created = sender.post("/chatroom", &json!({ "title": title })).await;
        assert_eq!((created.status, text(&created.body["title"])), (201, title.as_str()));
        let path = format!("/chatroom/{}", text(&created.body["id"]));
        let update = sender.user.request(Method::PATCH, &path);
        let updated = sender.user.send(update.json(&json!({ "title": title }))).await;
        assert_eq!((updated.status, text(&updated.body["title"])), (200, title.as_str()));
    }
}

pub async fn a_message_has_1_to_16000_characters_of_any_script(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    let refused = [
        String::new(),
        "a".repeat(16_001),
        "𝕏".repeat(16_001),
        "a\0b".into(),
        " \r\n".into(),
        "\u{200b}\u{feff}".into(),
        "\u{1}\u{9f}".into(),
        "\u{2028}\u{3164}\u{e0020}".into(),
    ];
    refused_everywhere(sender, "content", &refused.map(Value::from)).await;

    let path = format!("{}/message", sender.room);
    for content in ["a".to_owned(), " .\u{1b}".into(), "a".repeat(16_000), "𝕏".repeat(16_000)] {
        let accepted = sender.post(&path, &json!({ "content": content })).await;
        assert_eq!((accepted.status, text(&accepted.body["content"])), (202, content.as_str()));
    }
}

pub async fn a_name_has_1_to_100_characters_and_an_address_an_at_sign(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    let names = [String::new(), " ".into(), "\u{200d}".into(), "a".repeat(101), "a\0b".into(), "a\u{7f}b".into()];
    refused_everywhere(sender, "name", &names.map(Value::from)).await;
    let long = format!("{}@example.com", "a".repeat(243));
    let addresses = [
        String::new(),
        "a@".into(),
        "ada@".into(),
        "@example.com".into(),
        "a b@example.com".into(),
        "ada.example.com".into(),
        "a\0@b".into(),
        long.clone(),
    ];
    refused_everywhere(sender, "email", &addresses.map(Value::from)).await;

    for (name, email) in
        [(json!("ж".repeat(100)), json!(long[1..])), (json!("a"), json!("a@b")), (json!(null), json!(null))]
    {
        let signup = json!({ "mobile": sender.stack.mobile(), "name": name, "email": email });
        let response = sender.post("/auth/signup", &signup).await;
        assert_eq!(response.status, 202, "{signup}");
    }
}
