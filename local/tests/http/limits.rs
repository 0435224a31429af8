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

pub async fn an_address_gets_twenty_codes_an_hour_whatever_its_headers_say(stack: &Stack) {
    let stack = stack.another(&[("OTP_CODES_PER_ADDRESS_HOUR", "20")]).await;
    for number in 0..20 {
        assert_eq!(
            ask(&stack, &stack.mobile(), "/auth/signup").await,
            202,
            "{number}"
        );
    }
    for header in [
        "x-forwarded-for",
        "x-real-ip",
        "forwarded",
        "cf-connecting-ip",
        "true-client-ip",
    ] {
        let request = stack.request("/auth/signup", &json!({ "mobile": stack.mobile() }));
        let answer = stack.send(request.header(header, "203.0.113.7")).await;
        assert_eq!(answer.status, 429, "{header}");
        assert_eq!(
            answer.headers["ratelimit-policy"],
            "\"codes-per-address\";q=20;w=3600"
        );
    }
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

pub async fn without_queue_and_state_store_chat_goes_on_and_codes_do_not(stack: &Stack) {
    let variables = stack.system.variables();
    let same = ["JWT_PRIVATE_KEY", "JWT_PUBLIC_KEYS", "DATABASE_URL"];
    let mut settings = same.map(|name| (name, variables[name].as_str())).to_vec();
    // Nobody listens on the discard port.
    settings.extend([
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ("REDIS_URL", "redis://127.0.0.1:9"),
    ]);
    let user = stack.user().await;
    let without = stack.another(&settings).await;

    let user = user.at(&without);
    let room = user.room().await;
    let message = user.post(&room, "hello").await;
    // The first system's sweep finds it, as it would once the queue is back.
    assert_eq!(user.settled(&message).await["status"], "answered");
    assert_eq!(
        user.get("/chatroom").await.body["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    for path in ["/auth/signup", "/auth/send-otp", "/auth/forgot-password"] {
        let answer = without
            .post(path, &json!({ "mobile": without.mobile() }))
            .await;
        assert_eq!(answer.status, 503, "{path}");
        assert!(answer.headers.contains_key("retry-after"));
    }
    let mobile = without.mobile();
    assert_eq!(without.verify(&mobile, "123456").await.status, 503);
    let login = json!({ "mobile": mobile, "password": "correct horse battery" });
    assert_eq!(without.post("/auth/login", &login).await.status, 503);
}
