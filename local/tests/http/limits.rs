//! Limits and deliveries that need a system of their own.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::stack::Stack;

/// A number may get another code after thirty seconds, which a state store may round up.
const RESEND_AFTER: Duration = Duration::from_millis(31_500);

async fn ask(stack: &Stack, mobile: &str, path: &str) -> u16 {
    stack.post(path, &json!({ "mobile": mobile })).await.status
}

pub async fn a_number_gets_five_codes_an_hour_and_others_are_not_affected(stack: &Stack) {
    let mobile = stack.mobile();
    for round in 0..2 {
        assert_eq!(
            ask(stack, &mobile, "/auth/signup").await,
            202,
            "round {round}"
        );
        assert_eq!(
            ask(stack, &mobile, "/auth/forgot-password").await,
            202,
            "round {round}"
        );
        assert_eq!(
            ask(stack, &mobile, "/auth/send-otp").await,
            429,
            "not within thirty seconds"
        );
        sleep(RESEND_AFTER).await;
    }
    assert_eq!(ask(stack, &mobile, "/auth/send-otp").await, 202);
    let sixth = stack
        .post("/auth/forgot-password", &json!({ "mobile": mobile }))
        .await;
    assert_eq!(
        (sixth.status, sixth.headers["ratelimit-policy"].as_bytes()),
        (429, b"\"codes-per-number\";q=5;w=3600".as_slice())
    );
    assert_eq!(ask(stack, &stack.mobile(), "/auth/signup").await, 202);
}

/// The text messages that SNS took for a number.
async fn messages(stack: &Stack, mobile: &str) -> Vec<Value> {
    let endpoint = &stack.system.variables()["AWS_ENDPOINT_URL"];
    let digits = mobile.trim_start_matches('+');
    let url = format!("{endpoint}/_ministack/sns/sms-messages?phoneNumber=%2B{digits}");
    let answer = stack.system.client().get(url).send().await;
    let found: Value = answer.unwrap().json().await.unwrap();
    let messages = found["sms_messages"]
        .as_object()
        .into_iter()
        .flat_map(|numbers| numbers.values());
    messages
        .flat_map(|messages| messages.as_array().unwrap().clone())
        .collect()
}

pub async fn sms_go_to_known_numbers_only(stack: &Stack) {
    let stack = stack
        .another(&[("OTP_DELIVERY", "sns"), ("OTP_SENDER_ID", "Chat")])
        .await;
    let mobile = stack.mobile();
    let answer = stack
        .post("/auth/signup", &json!({ "mobile": mobile }))
        .await;
    assert_eq!((answer.status, answer.body.get("otp")), (202, None));
    let messages_to_known = messages(&stack, &mobile).await;
    let [message] = messages_to_known.as_slice() else {
        panic!("one message was expected: {messages_to_known:?}");
    };
    let text = message["Message"].as_str().unwrap();
    let code: String = text
        .chars()
        .skip_while(|c| !c.is_ascii_digit())
        .take(6)
        .collect();
    assert_eq!(stack.verify(&mobile, &code).await.status, 200, "{text}");
    let attributes = message["MessageAttributes"].to_string();
    assert!(
        attributes.contains("Transactional") && attributes.contains("Chat"),
        "{attributes}"
    );

    let unknown = stack.mobile();
    assert_eq!(ask(&stack, &unknown, "/auth/send-otp").await, 202);
    assert_eq!(messages(&stack, &unknown).await, [] as [Value; 0]);
}
