//! Passwords and tokens that are typed in: what is accepted, and that none is ever logged.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    fields::refused_everywhere,
    stack::{INVALID, MALFORMED, problem, run},
};

#[test]
fn a_new_password_has_8_to_128_characters_and_is_not_a_common_one() {
    run(async |stack| {
        let refused = [
            String::new(),
            "ж".repeat(7),
            "ж".repeat(129),
            "password".into(),
            "PASSWORD".into(),
            "1234567890".into(),
        ];
        refused_everywhere(stack, "new_password", &refused.map(Value::from)).await;

        let user = stack.new_user().await;
        let mut current = None;
        for password in ["ж".repeat(8), "a\0b\n 👩 ".repeat(16), "ж".repeat(128)] {
            let change = json!({ "current_password": current, "new_password": password });
            let request = stack
                .request(Method::POST, "/auth/change-password")
                .bearer_auth(&user.token);
            let answer = stack.send(request.json(&change)).await;
            assert_eq!(answer.status, 204, "{password}");
            current = Some(password);
        }
        let login = json!({ "mobile": user.mobile, "password": current });
        assert_eq!(stack.post("/auth/login", &login).await.status, 200);
    });
}

#[test]
fn a_refresh_token_of_any_form_is_refused_alike() {
    run(async |stack| {
        for token in ["", "x", "\u{0}", &"a".repeat(60_000), &stack.user.token] {
            let answer = stack
                .post("/auth/refresh", &json!({ "refresh_token": token }))
                .await;
            assert_eq!(problem(&answer), (401, "unauthenticated"));
        }
    });
}

#[test]
fn what_is_typed_into_a_wrong_place_is_never_logged() {
    run(async |stack| {
        let secret = "hunter2-in-the-wrong-place";
        for (endpoint, schema, example) in stack.json_endpoints() {
            for name in schema["properties"].as_object().unwrap().keys() {
                let mut body = example.clone();
                body[name] = json!([secret]);
                assert_eq!(
                    problem(&stack.send_body(&endpoint, body.to_string()).await),
                    INVALID
                );
            }
            let broken = format!("{{\"{secret}\": {secret}}}");
            let answer = stack.send_body(&endpoint, broken).await;
            assert!(
                [MALFORMED, INVALID].contains(&problem(&answer)),
                "{}",
                endpoint.path
            );
        }
        let mut lines = 0;
        for file in std::fs::read_dir(stack.system.logs()).unwrap() {
            let log = std::fs::read_to_string(file.unwrap().path()).unwrap();
            assert!(!log.contains("hunter2"), "{log}");
            lines += log
                .lines()
                .filter(|line| line.contains("not acceptable"))
                .count();
        }
        assert!(lines > 0, "the refusals were logged");
    });
}
