//! Tests fault 33: bodies that are not the JSON object they should be. Every endpoint that takes one treats them alike.

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde_json::{Value, json};

use local_suite::harness::{Stack, sample};

use crate::stops::id;

use super::{INVALID, MALFORMED, Sender, fields};

on!(sqs:
    what_is_not_json_is_malformed_at_every_endpoint,
    an_empty_body_is_malformed_unless_none_is_required,
    json_that_is_no_object_is_invalid_at_every_endpoint,
    a_field_that_is_unknown_missing_or_given_twice_is_named,
    nesting_and_numbers_of_any_size_are_refused,
    a_body_may_have_256_kib_and_not_a_byte_more,
    a_message_of_16000_characters_is_accepted_however_it_is_escaped,
    a_compressed_body_is_refused_at_every_endpoint,
    a_body_must_be_declared_to_be_json,
    json_is_declared_in_any_case_and_with_any_parameters,
    bytes_that_are_no_text_are_malformed,
);

const NOT_JSON: (u16, &str) = (415, "not-json");
const TOO_LARGE: (u16, &str) = (413, "too-large");
const LIMIT: usize = 256 * 1024;

pub async fn what_is_not_json_is_malformed_at_every_endpoint(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    for (endpoint, _, example) in sender.json_endpoints() {
        let field = example.as_object().unwrap().keys().next().unwrap();
        let with = |value: &[u8]| [b"{\"", field.as_bytes(), b"\":", value, b"}"].concat();
        let example = example.to_string();
        let cut = &example[..example.len() - 1];
        let bodies = [
            b"{".to_vec(),
            b"not json".to_vec(),
            b"{'a': 'b'}".to_vec(),
            b"\xef\xbb\xbf{}".to_vec(),
            with(b"NaN"),
            with(b"\"\\ud800\""),
            with(b"\"\\x\""),
            with(b"\"a\0b\""),
            cut.into(),
            format!("{cut},}}").into(),
            format!("{example} x").into(),
            format!("{example}{example}").into(),
        ];
        for body in bodies {
            let response = sender.send_body(&endpoint, body.clone()).await;
            let body = String::from_utf8_lossy(&body);
            assert_eq!(response.problem(), MALFORMED, "{}: {body}", endpoint.path);
        }
    }
}

pub async fn an_empty_body_is_malformed_unless_none_is_required(stack: &Stack) {
    for (endpoint, ..) in Sender::new(stack).await.json_endpoints() {
        let sender = Sender::new(stack).await; // since a session may end
        let response = sender.send_body(&endpoint, "").await;
        let expected = match endpoint.function {
            _ if endpoint.needs_body => MALFORMED,
            "user-delete" => (403, "sign-in-again"), // its body is the proof
            _ => (204, ""),
        };
        assert_eq!(response.problem(), expected, "{}", endpoint.path);
    }
}

pub async fn json_that_is_no_object_is_invalid_at_every_endpoint(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    for (endpoint, schema, example) in sender.json_endpoints() {
        // The fields' values in their order could be taken for the object.
        let properties = schema["properties"].as_object().unwrap().keys();
        let values: Value = properties.map(|name| example[name].clone()).collect();
        for body in [values, json!([]), json!([example]), json!("text"), json!(7), json!(null), json!(true)] {
            let response = sender.send_body(&endpoint, body.to_string()).await;
            assert_eq!(response.problem(), INVALID, "{}: {body}", endpoint.path);
            assert_eq!(fields(&response), ["body"], "{}: {body}", endpoint.path);
        }
    }
}

pub async fn a_field_that_is_unknown_missing_or_given_twice_is_named(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    for (endpoint, schema, example) in sender.json_endpoints() {
        let mut surplus = example.clone();
        surplus["surplus"] = json!(1);
        let response = sender.send_body(&endpoint, surplus.to_string()).await;
        assert_eq!((response.problem(), fields(&response)), (INVALID, vec!["surplus"]), "{}", endpoint.path);

        let required = schema["required"].as_array();
        for name in required.into_iter().flatten().map(|name| name.as_str().unwrap()) {
            let mut lacking = example.clone();
            lacking.as_object_mut().unwrap().remove(name);
            let response = sender.send_body(&endpoint, lacking.to_string()).await;
            assert_eq!((response.problem(), fields(&response)), (INVALID, vec![name]), "{}", endpoint.path);
        }
        for (name, value) in example.as_object().unwrap() {
            let example = example.to_string();
            let twice = format!("{},\"{name}\":{value}}}", &example[..example.len() - 1]);
            let response = sender.send_body(&endpoint, twice).await;
            assert_eq!((response.problem(), fields(&response)), (INVALID, vec![name.as_str()]), "{}", endpoint.path);
        }
    }
}

pub async fn nesting_and_numbers_of_any_size_are_refused(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    let deep = 30_000;
    let arrays = format!("{}{}", "[".repeat(deep), "]".repeat(deep));
    let objects = format!("{}1{}", "{\"a\":".repeat(9_000), "}".repeat(9_000));
    let digits = "7".repeat(60_000);
    let exponent = format!("1e{}", "9".repeat(60_000));
    for (endpoint, _, example) in sender.json_endpoints() {
        let field = example.as_object().unwrap().keys().next().unwrap();
        for value in [&arrays, &objects, &digits, &exponent] {
            for name in [field, "surplus"] {
                let body = format!("{{\"{name}\":{value}}}");
                let response = sender.send_body(&endpoint, body).await;
                let context = format!("{} {name}: {}…", endpoint.path, &value[..9]);
                assert!([MALFORMED, INVALID].contains(&response.problem()), "{context}");
            }
        }
        let million = format!("{{\"{field}\":{}}}", "7".repeat(1_000_000));
        let response = sender.send_body(&endpoint, million).await;
        assert_eq!(response.problem(), TOO_LARGE, "{}", endpoint.path);
    }
}

pub async fn a_body_may_have_256_kib_and_not_a_byte_more(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    for (endpoint, ..) in sender.json_endpoints() {
        let response = sender.send_body(&endpoint, " ".repeat(LIMIT)).await;
        assert_eq!(response.problem(), MALFORMED, "{}", endpoint.path);
        let response = sender.send_body(&endpoint, " ".repeat(LIMIT + 1)).await;
        assert_eq!(response.problem(), TOO_LARGE, "{}", endpoint.path);
    }
    let room = json!({ "title": "a" }).to_string();
    let padding = " ".repeat(LIMIT - room.len());
    let request = sender.user.request(Method::POST, "/chatroom");
    let request = request.header("content-type", "application/json");
    let response = sender.user.send(request.body(room + &padding)).await;
    assert_eq!(response.status, 201);
}

/// What limits a message is its characters, of which one takes 12 bytes where a client escapes it.
pub async fn a_message_of_16000_characters_is_accepted_however_it_is_escaped(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    for (character, escaped) in [("a", r"\u0061"), ("語", r"\u8a9e"), ("🚋", r"\ud83d\ude8b")] {
        for written in [character, escaped] {
            let send = async |characters: usize| {
                let body = format!("{{\"content\":\"{}\"}}", written.repeat(characters));
                let request = sender.user.request(Method::POST, &format!("{}/message", sender.room));
                sender.user.send(request.header("content-type", "application/json").body(body)).await
            };
            let accepted = send(16_000).await;
            assert_eq!(accepted.status, 202, "{written}");
            assert_eq!(accepted.body["content"].as_str(), Some(character.repeat(16_000).as_str()));
            let refused = send(16_001).await;
            assert_eq!((refused.problem(), fields(&refused)), (INVALID, vec!["content"]), "{written}");
        }
    }
}

pub async fn a_compressed_body_is_refused_at_every_endpoint(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    for (endpoint, _, example) in sender.json_endpoints() {
        let send = async |coding: &str| {
            let request = sender.user.request(endpoint.method.clone(), &endpoint.path);
            let request = request.header("content-type", "application/json").header("content-encoding", coding);
            sender.user.send(request.body(example.to_string())).await
        };
        for coding in ["gzip", "br", "deflate", "zstd", "GZIP", "identity, gzip", "gzip,identity"] {
            let refused = send(coding).await;
            assert_eq!(refused.problem(), NOT_JSON, "{}: {coding}", endpoint.path);
            assert_eq!(refused.headers["accept-encoding"], "identity");
            assert!(refused.body["detail"].as_str().unwrap().contains("Content-Encoding"), "{}", refused.body);
        }
    }
    let request = sender.user.request(Method::POST, "/chatroom").header("content-encoding", "Identity");
    let request = request.header("content-type", "application/json").body(r#"{"title":"a"}"#);
    assert_eq!(sender.user.send(request).await.status, 201);
}

pub async fn a_body_must_be_declared_to_be_json(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    for (endpoint, _, example) in sender.json_endpoints() {
        for content_type in [
            "",
            "text/plain",
            "text/json",
            "application/jsonx",
            "application/problem+json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=application/json",
        ] {
            let request = sender.user.request(endpoint.method.clone(), &endpoint.path);
            let request = request.body(example.to_string());
            let request = match content_type {
                "" => request,
                content_type => request.header("content-type", content_type),
            };
            let response = sender.user.send(request).await;
            assert_eq!(response.problem(), NOT_JSON, "{}: {content_type}", endpoint.path);
        }
    }
}

pub async fn json_is_declared_in_any_case_and_with_any_parameters(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    for content_type in ["application/json; charset=utf-8", "Application/JSON", "application/json ;x=y"] {
        let request = sender.user.request(Method::POST, "/chatroom");
        let request = request.header("content-type", content_type);
        let response = sender.user.send(request.body(r#"{"title":"a"}"#)).await;
        assert_eq!(response.status, 201, "{content_type}");
    }
}

/// By an event, since the local gateway itself refuses to pass such a body or header on.
pub async fn bytes_that_are_no_text_are_malformed(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    let mut event = sample("message-send");
    event["headers"]["authorization"] = json!(format!("Bearer {}", sender.user.token));
    event["pathParameters"]["id"] = json!(id(&sender.room));

    let mut bad_key = event.clone();
    bad_key["headers"]["idempotency-key"] = json!("ключ");
    let mut bad_body = event.clone();
    bad_body["body"] = json!(STANDARD.encode(b"{\"content\":\"a\xffb\"}"));
    bad_body["isBase64Encoded"] = json!(true);
    // `{"content":"hi"}`, as gzip writes it.
    let gzip = "H4sIAAAAAAACA6tWSs7PK0nNK1GyUsrIVKoFAJB5x+IQAAAA";
    let mut compressed = event.clone();
    compressed["headers"]["content-encoding"] = json!("gzip");
    compressed["body"] = json!(gzip);
    compressed["isBase64Encoded"] = json!(true);
    for (event, expected) in [(event, 202), (bad_key, 400), (bad_body, 400), (compressed, 415)] {
        let response = sender.stack.system.invoke("message-send", &event).await.unwrap();
        assert_eq!(response["statusCode"], expected, "{response}");
    }
}
