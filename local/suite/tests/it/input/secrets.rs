//! Tests which passwords and tokens are accepted, and that none is ever logged.

use reqwest::Method;
use serde_json::{Value, json};

use local_suite::harness::Stack;

use super::{INVALID, MALFORMED, Sender, fields::refused_everywhere};

on_every_kind!(what_is_typed_into_a_wrong_place_is_never_logged);

on!(sqs: a_new_password_has_8_to_128_characters_and_is_not_a_common_one);

on!(redis: a_refresh_token_of_any_form_is_refused_alike);

pub async fn a_new_password_has_8_to_128_characters_and_is_not_a_common_one(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    let refused =
        [String::new(), "ж".repeat(7), "ж".repeat(129), "password".into(), "PASSWORD".into(), "1234567890".into()];
    refused_everywhere(sender, "new_password", &refused.map(Value::from)).await;

    let user = &sender.user;
    let mut current = None;
    for password in ["ж".repeat(8), "a\0b\n 👩 ".repeat(16), "ж".repeat(128)] {
        let mut change = match &current {
            Some(current) => json!({ "current_password": current }),
            None => user.confirmation().await,
        };
        change["new_password"] = json!(password);
        let response = user.json(Method::POST, "/auth/change-password", &change).await;
        assert_eq!(response.status, 204, "{password}");
        current = Some(password);
    }
    let login = json!({ "mobile": user.mobile, "password": current });
    assert_eq!(sender.post("/auth/login", &login).await.status, 200);
}

pub async fn a_refresh_token_of_any_form_is_refused_alike(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    for token in ["", "x", "\u{0}", &"a".repeat(60_000), &sender.user.token] {
        let response = sender.post("/auth/refresh", &json!({ "refresh_token": token })).await;
        assert_eq!(response.problem(), (401, "unauthenticated"));
    }
}

pub async fn what_is_typed_into_a_wrong_place_is_never_logged(stack: &Stack) {
    let sender = &Sender::new(stack).await;
    let secret = "hunter2-in-the-wrong-place";
    for (endpoint, schema, example) in sender.json_endpoints() {
        for name in schema["properties"].as_object().unwrap().keys() {
            let mut body = example.clone();
            body[name] = json!([secret]);
            assert_eq!(sender.send_body(&endpoint, body.to_string()).await.problem(), INVALID);
        }
        let broken = format!("{{\"{secret}\": {secret}}}");
        let response = sender.send_body(&endpoint, broken).await;
        assert!([MALFORMED, INVALID].contains(&response.problem()), "{}", endpoint.path);
    }
    let mut lines = 0;
    for file in std::fs::read_dir(sender.stack.system.logs()).unwrap() {
        let log = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!log.contains("hunter2"), "{log}");
        lines += log.lines().filter(|line| line.contains("not acceptable")).count();
    }
    assert!(lines > 0, "the refusals were logged");
}
