//! How many codes there are, and who gets one.

use std::{net::TcpListener, time::Duration};

use futures_util::future::join_all;
use local_suite::harness::Stack;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::invoke_from;

on_every_kind!(
    wrong_guesses_from_one_address_are_limited_whatever_the_number,
    codes_of_one_country_are_capped_and_others_still_get_theirs,
    a_flood_of_codes_is_stopped_and_others_still_get_theirs,
    sms_go_to_known_numbers_only,
    codes_for_unknown_numbers_keep_neither_customers_nor_newcomers_from_theirs,
    a_full_cap_of_customers_does_not_tell_who_is_one,
    a_trusted_proxy_is_believed_about_its_client_and_nobody_else,
);

on!(sqs: numbers_of_countries_that_are_not_served_get_no_code);

on!(redis:
    a_number_gets_five_codes_an_hour_and_others_are_not_affected,
    a_response_does_not_tell_that_sms_failed_or_is_slow,
    an_sms_is_sent_as_its_country_asks_for,
);

/// A number may get another code after thirty seconds, which a state store may round up.
pub const RESEND_AFTER: Duration = Duration::from_millis(31_500);

async fn ask(stack: &Stack, mobile: &str, path: &str) -> u16 {
    stack.post(path, &json!({ "mobile": mobile })).await.status
}

pub async fn a_number_gets_five_codes_an_hour_and_others_are_not_affected(stack: &Stack) {
    let mobile = stack.mobile();
    for round in 0..2 {
        assert_eq!(ask(stack, &mobile, "/auth/signup").await, 202, "round {round}");
        assert_eq!(ask(stack, &mobile, "/auth/forgot-password").await, 202, "round {round}");
        assert_eq!(ask(stack, &mobile, "/auth/send-otp").await, 429, "not within thirty seconds");
        sleep(RESEND_AFTER).await;
    }
    assert_eq!(ask(stack, &mobile, "/auth/send-otp").await, 202);
    let sixth = stack.post("/auth/forgot-password", &json!({ "mobile": mobile })).await;
    assert_eq!((sixth.status, sixth.headers["ratelimit-policy"].as_bytes()), (429, b"\"codes\";q=5;w=3600".as_slice()));
    assert_eq!(ask(stack, &stack.mobile(), "/auth/signup").await, 202);
}

pub async fn sms_go_to_known_numbers_only(stack: &Stack) {
    let stack = stack.another(&[("OTP_DELIVERY", "sns"), ("OTP_SENDER_ID", "Chat")]).await;
    let mobile = stack.mobile();
    let response = stack.post("/auth/signup", &json!({ "mobile": mobile })).await;
    assert_eq!((response.status, response.body.get("otp")), (202, None));
    let [message] = &stack.sms(&mobile).await[..] else {
        panic!("one message was expected");
    };
    let sent = stack.received(&mobile, &response.body).await;
    assert_eq!(stack.verify(&mobile, &sent).await.status, 200, "{message}");
    let attributes = message["MessageAttributes"].to_string();
    assert!(attributes.contains("Transactional") && attributes.contains("Chat"), "{attributes}");

    let unknown = stack.mobile();
    assert_eq!(ask(&stack, &unknown, "/auth/send-otp").await, 202);
    assert_eq!(stack.sms(&unknown).await, [] as [Value; 0]);
}

pub async fn an_sms_is_sent_as_its_country_asks_for(stack: &Stack) {
    let settings = [
        ("OTP_DELIVERY", "sns"),
        ("OTP_TEXT", "{code} is your code for Chat."),
        ("OTP_ORIGINATION_NUMBER", "+15550100000"),
        ("OTP_ENTITY_ID", "1101000000000000001"),
        ("OTP_TEMPLATE_ID", "1107000000000000002"),
        ("OTP_MAX_PRICE", "0.25"),
    ];
    let stack = stack.another(&settings).await;
    let mobile = stack.mobile();
    let sent = stack.code(&mobile).await;
    let [message] = &stack.sms(&mobile).await[..] else {
        panic!("one message was expected");
    };
    assert_eq!(message["Message"], format!("{} is your code for Chat.", sent.code));
    let attributes = message["MessageAttributes"].to_string();
    for (_, value) in &settings[2..] {
        assert!(attributes.contains(value), "{value}: {attributes}");
    }
}

/// SMS that cannot be sent, and SMS that takes for ever.
pub async fn a_response_does_not_tell_that_sms_failed_or_is_slow(stack: &Stack) {
    // Connections wait in its queue, and nobody takes them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    for endpoint in ["http://127.0.0.1:1", &silent] {
        let settings = [("OTP_DELIVERY", "sns"), ("AWS_ENDPOINT_URL", endpoint)];
        let stack = stack.another(&settings).await;
        let sent = ask(&stack, &stack.mobile(), "/auth/signup").await;
        let not_sent = ask(&stack, &stack.mobile(), "/auth/send-otp").await;
        assert_eq!((sent, not_sent), (202, 202), "{endpoint}");
        let log = stack.system.logs().join("auth-signup.log");
        let log = std::fs::read_to_string(log).unwrap();
        assert!(log.contains("\"metric\":\"sms_failed\""), "{log}");
    }
}

pub async fn wrong_guesses_from_one_address_are_limited_whatever_the_number(stack: &Stack) {
    let stack = stack.another(&[("OTP_GUESSES_PER_ADDRESS_HOUR", "30")]).await;
    let mut statuses = Vec::new();
    for _ in 0..35 {
        let mobile = stack.mobile();
        let sent = stack.code(&mobile).await;
        statuses.push(stack.verify(&mobile, &sent.wrong()).await.status);
        if [10, 20].contains(&statuses.len()) {
            // Right ones are not counted.
            assert_eq!(stack.verify(&mobile, &sent).await.status, 200);
        }
    }
    let expected = [[401; 30].as_slice(), &[429; 5]].concat();
    assert_eq!(statuses, expected);
    // Nor are others kept out.
    let mobile = stack.mobile();
    let proof = stack.code(&mobile).await.proof(&mobile);
    let (status, _) = invoke_from(&stack, "auth-verify-otp", "203.0.113.7", &proof).await;
    assert_eq!(status, 200);
}

pub async fn codes_of_one_country_are_capped_and_others_still_get_theirs(stack: &Stack) {
    let settings = [("OTP_CODES_PER_COUNTRY_HOUR", "7"), ("OTP_CODES_PER_HOUR", "12")];
    let stack = stack.another(&settings).await;
    let from = async |number: usize, mobile: &str| {
        let address = format!("198.51.100.{number}");
        sign_up_from(&stack, &address, mobile).await
    };
    let mut statuses = Vec::new();
    for number in 0..9 {
        statuses.push(from(number, &format!("+2637710{number:05}")).await);
    }
    assert_eq!(statuses, [[202; 7].as_slice(), &[429; 2]].concat());
    let others = ["+4915112345678", "+33612345678", "+353851234567", "+447700900123"];
    for (number, mobile) in others.iter().enumerate() {
        assert_eq!(from(number, mobile).await, 202, "{mobile}");
    }
    assert_eq!(from(20, "+34612345678").await, 202, "the twelfth");
    assert_eq!(from(21, "+34612345679").await, 429, "the cap of all");
    let log = stack.system.logs().join("auth-signup.log");
    let log = std::fs::read_to_string(log).unwrap();
    let alarms = log.matches("\"metric\":\"codes_capped\"").count();
    assert_eq!(alarms, 3, "{log}");
}

pub async fn codes_for_unknown_numbers_keep_neither_customers_nor_newcomers_from_theirs(stack: &Stack) {
    let settings = [("OTP_DELIVERY", "sns"), ("OTP_CODES_PER_COUNTRY_HOUR", "2"), ("OTP_CODES_PER_HOUR", "2")];
    let stack = stack.another(&settings).await;
    let known = known_number(&stack).await;
    for number in 0..10 {
        let path = ["/auth/send-otp", "/auth/forgot-password"][number % 2];
        assert_eq!(ask(&stack, &stack.mobile(), path).await, 202, "{number}");
    }
    assert_eq!(ask(&stack, &known, "/auth/send-otp").await, 202);
    assert!(has_sms(&stack, &known).await);
    let newcomer = stack.mobile();
    assert_eq!(ask(&stack, &newcomer, "/auth/signup").await, 202);
    assert!(has_sms(&stack, &newcomer).await);
}

pub async fn a_full_cap_of_customers_does_not_tell_who_is_one(stack: &Stack) {
    let settings = [("OTP_DELIVERY", "sns"), ("OTP_CODES_PER_COUNTRY_HOUR", "2")];
    let stack = stack.another(&settings).await;
    let mut sent = Vec::new();
    for _ in 0..4 {
        let known = known_number(&stack).await;
        assert_eq!(ask(&stack, &known, "/auth/send-otp").await, 202);
        sent.push(has_sms(&stack, &known).await);
    }
    assert_eq!(sent, [true, true, false, false]);
    assert_eq!(ask(&stack, &stack.mobile(), "/auth/send-otp").await, 202, "as for an unknown number");
    let log = std::fs::read_to_string(stack.system.logs().join("auth-send-otp.log")).unwrap();
    assert_eq!(log.matches("\"metric\":\"codes_capped\"").count(), 2, "{log}");

    // Those who sign up have a cap of their own, which says when it is full: it is the same for everybody.
    let sign_up = async |mobile: &str| ask(&stack, mobile, "/auth/signup").await;
    assert_eq!((sign_up(&stack.mobile()).await, sign_up(&stack.mobile()).await), (202, 202));
    let (known, unknown) = (known_number(&stack).await, stack.mobile());
    assert_eq!((sign_up(&known).await, sign_up(&unknown).await), (429, 429));
}

/// Returns whether a number got an SMS. On a slow machine the first attempt times out, and it gets two.
async fn has_sms(stack: &Stack, mobile: &str) -> bool {
    !stack.sms(mobile).await.is_empty()
}

/// A number that has an account, and was sent nothing yet.
async fn known_number(stack: &Stack) -> String {
    let mobile = stack.mobile();
    stack.execute(&format!("insert into users (id, mobile) values (uuidv7(), '{mobile}')")).await;
    mobile
}

pub async fn a_trusted_proxy_is_believed_about_its_client_and_nobody_else(stack: &Stack) {
    const SECRET: &str = "a secret that only the proxy and the functions have";
    let settings = [("OTP_CODES_PER_ADDRESS_HOUR", "3"), ("TRUSTED_PROXY_SECRET", SECRET)];
    let stack = stack.another(&settings).await;
    let sign_up = async |secret: &str, header: &str, address: &str| {
        let request = stack.request(Method::POST, "/auth/signup").json(&json!({ "mobile": stack.mobile() }));
        let request = request.header("x-proxy-secret", secret).header(header, address);
        stack.send(request).await.status
    };
    for (client, (header, address)) in [
        ("cloudfront-viewer-address", "203.0.113.7:46532"),
        ("cloudfront-viewer-address", "2001:db8:1:2::7:46532"),
        ("x-forwarded-for", "192.0.2.1, 203.0.113.8"),
    ]
    .into_iter()
    .enumerate()
    {
        for _ in 0..3 {
            assert_eq!(sign_up(SECRET, header, address).await, 202, "client {client}");
        }
        assert_eq!(sign_up(SECRET, header, address).await, 429, "client {client}");
    }
    // An address of one's own choice is worth nothing without the secret.
    let mut statuses = Vec::new();
    for number in 0..6 {
        statuses.push(sign_up("a guess", "cloudfront-viewer-address", &format!("198.51.100.{number}:1")).await);
    }
    assert_eq!(statuses, [202, 202, 202, 429, 429, 429]);
}

pub async fn numbers_of_countries_that_are_not_served_get_no_code(stack: &Stack) {
    let stack = stack.another(&[("OTP_COUNTRIES", "44, 1")]).await;
    for (number, path) in ["/auth/signup", "/auth/send-otp", "/auth/forgot-password"].iter().enumerate() {
        let served = format!("+44770090012{number}");
        assert_eq!(ask(&stack, &served, path).await, 202, "{path}");
        let refused = stack.post(path, &json!({ "mobile": "+2637710000001" })).await;
        assert_eq!(refused.problem(), (422, "invalid"), "{path}");
        assert_eq!(refused.body["errors"][0]["field"], "mobile");
    }
}

/// The status of signing up for a client at an address.
async fn sign_up_from(stack: &Stack, address: &str, mobile: &str) -> u64 {
    invoke_from(stack, "auth-signup", address, &json!({ "mobile": mobile })).await.0
}

pub async fn a_flood_of_codes_is_stopped_and_others_still_get_theirs(stack: &Stack) {
    let stack = stack.another(&[("OTP_CODES_PER_ADDRESS_HOUR", "20")]).await;
    let sign_up = async |mobile: &str| stack.post("/auth/signup", &json!({ "mobile": mobile })).await;
    for number in 0..20 {
        assert_eq!(sign_up(&stack.mobile()).await.status, 202, "{number}");
    }
    // Headers are the client's to choose.
    for header in ["x-forwarded-for", "x-real-ip", "forwarded", "cf-connecting-ip", "true-client-ip"] {
        let request = stack.request(Method::POST, "/auth/signup").json(&json!({ "mobile": stack.mobile() }));
        let response = stack.send(request.header(header, "203.0.113.7")).await;
        assert_eq!(response.status, 429, "{header}");
        assert_eq!(response.headers["ratelimit-policy"], "\"codes\";q=20;w=3600");
    }
    assert_eq!(sign_up_from(&stack, "203.0.113.7", &stack.mobile()).await, 202);

    let flooded = stack.mobile();
    let addresses: Vec<_> = (0..30).map(|number| format!("198.51.100.{number}")).collect();
    let flood = addresses.iter().map(|address| sign_up_from(&stack, address, &flooded));
    let mut statuses = join_all(flood).await;
    statuses.sort_unstable();
    let expected = [[202; 10].as_slice(), &[429; 20]].concat();
    assert_eq!(statuses, expected, "of each address one, of all ten");
    let other = sign_up_from(&stack, "198.51.100.1", &stack.mobile()).await;
    assert_eq!(other, 202);
}
