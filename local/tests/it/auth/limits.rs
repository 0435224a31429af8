//! How many codes there are, and who gets one.

use std::time::Duration;

use futures_util::future::join_all;
use local::harness::Stack;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

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

pub async fn sms_go_to_known_numbers_only(stack: &Stack) {
    let stack = stack
        .another(&[("OTP_DELIVERY", "sns"), ("OTP_SENDER_ID", "Chat")])
        .await;
    let mobile = stack.mobile();
    let response = stack
        .post("/auth/signup", &json!({ "mobile": mobile }))
        .await;
    assert_eq!((response.status, response.body.get("otp")), (202, None));
    let [message] = &stack.sms(&mobile).await[..] else {
        panic!("one message was expected");
    };
    let code = stack.received_code(&mobile, &response.body).await;
    assert_eq!(stack.verify(&mobile, &code).await.status, 200, "{message}");
    let attributes = message["MessageAttributes"].to_string();
    assert!(
        attributes.contains("Transactional") && attributes.contains("Chat"),
        "{attributes}"
    );

    let unknown = stack.mobile();
    assert_eq!(ask(&stack, &unknown, "/auth/send-otp").await, 202);
    assert_eq!(stack.sms(&unknown).await, [] as [Value; 0]);
}

/// The status of signing up for a client at an address.
async fn sign_up_from(stack: &Stack, address: &str, mobile: &str) -> u64 {
    let event = include_str!("../../../../events/auth-signup.json");
    let mut event: Value = serde_json::from_str(event).unwrap();
    event["requestContext"]["http"]["sourceIp"] = json!(address);
    event["body"] = json!({ "mobile": mobile }).to_string().into();
    let response = stack.system.invoke("auth-signup", &event).await.unwrap();
    response["statusCode"].as_u64().unwrap()
}

/// Fault 27.
pub async fn a_flood_of_codes_is_stopped_and_others_still_get_theirs(stack: &Stack) {
    let stack = stack.another(&[("OTP_CODES_PER_ADDRESS_HOUR", "20")]).await;
    let sign_up = async |mobile: &str| {
        stack
            .post("/auth/signup", &json!({ "mobile": mobile }))
            .await
    };
    for number in 0..20 {
        assert_eq!(sign_up(&stack.mobile()).await.status, 202, "{number}");
    }
    // Headers are the client's to choose.
    for header in [
        "x-forwarded-for",
        "x-real-ip",
        "forwarded",
        "cf-connecting-ip",
        "true-client-ip",
    ] {
        let request = stack
            .request(Method::POST, "/auth/signup")
            .json(&json!({ "mobile": stack.mobile() }));
        let response = stack.send(request.header(header, "203.0.113.7")).await;
        assert_eq!(response.status, 429, "{header}");
        assert_eq!(
            response.headers["ratelimit-policy"],
            "\"codes-per-address\";q=20;w=3600"
        );
    }
    assert_eq!(
        sign_up_from(&stack, "203.0.113.7", &stack.mobile()).await,
        202
    );

    let flooded = stack.mobile();
    let addresses: Vec<_> = (0..30)
        .map(|number| format!("198.51.100.{number}"))
        .collect();
    let flood = addresses
        .iter()
        .map(|address| sign_up_from(&stack, address, &flooded));
    let mut statuses = join_all(flood).await;
    statuses.sort_unstable();
    assert_eq!((statuses[0], statuses[1], statuses[29]), (202, 429, 429));
    let other = sign_up_from(&stack, "198.51.100.1", &stack.mobile()).await;
    assert_eq!(other, 202);
}
