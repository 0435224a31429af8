//! Rows 26 and 27: codes that are guessed at, and numbers that are flooded.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::stack::Stack;

/// A code that is not this one.
fn other_than(code: &str) -> String {
    format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000)
}

/// Row 26.
pub async fn whoever_guesses_a_code_or_uses_one_again_is_not_signed_in(stack: &Stack) {
    a_code_works_once(stack).await;
    an_expired_code_works_no_more(stack).await;
    a_code_allows_five_guesses(stack).await;
    ten_guesses_an_hour_lock_a_number_across_codes_and_no_other_number(stack).await;
    a_hundred_right_guesses_at_once_sign_in_once(stack).await;
}

async fn an_expired_code_works_no_more(stack: &Stack) {
    let mobile = stack.mobile();
    let code = stack.code(&mobile).await;
    let key = format!("code:sign-in:{mobile}");
    stack.system.expire(&key).await.unwrap();
    assert_eq!(stack.verify(&mobile, &code).await.status, 401);
}

async fn a_code_works_once(stack: &Stack) {
    let mobile = stack.mobile();
    let code = stack.code(&mobile).await;
    assert_eq!(stack.verify(&mobile, &code).await.status, 200);
    let spent = stack.verify(&mobile, &code).await;
    assert_eq!(
        (spent.status, &spent.body["type"]),
        (401, &json!("/problems/wrong-code"))
    );
}

async fn a_code_allows_five_guesses(stack: &Stack) {
    let mobile = stack.mobile();
    let code = stack.code(&mobile).await;
    for _ in 0..5 {
        assert_eq!(stack.verify(&mobile, &other_than(&code)).await.status, 401);
    }
    assert_eq!(
        stack.verify(&mobile, &code).await.status,
        401,
        "the sixth guess is too late"
    );

    let mobile = stack.mobile();
    let code = stack.code(&mobile).await;
    for _ in 0..4 {
        stack.verify(&mobile, &other_than(&code)).await;
    }
    assert_eq!(
        stack.verify(&mobile, &code).await.status,
        200,
        "the fifth is not"
    );
}

async fn ten_guesses_an_hour_lock_a_number_across_codes_and_no_other_number(stack: &Stack) {
    let mobile = stack.mobile();
    let code = stack.code(&mobile).await;
    for guess in 0..5 {
        let status = stack.verify(&mobile, &other_than(&code)).await.status;
        assert_eq!(status, 401, "guess {guess}");
    }
    // Another code for another purpose, asked for in between, gives five guesses at it and not ten.
    let forgot = json!({ "mobile": mobile });
    let answer = stack.post("/auth/forgot-password", &forgot).await;
    let code = answer.body["otp"].as_str().unwrap();
    let reset = async |code: &str| {
        let reset =
            json!({ "mobile": mobile, "otp": code, "new_password": "correct horse battery" });
        stack.post("/auth/reset-password", &reset).await.status
    };
    for guess in 5..10 {
        assert_eq!(reset(&other_than(code)).await, 401, "guess {guess}");
    }
    assert_eq!(reset(code).await, 429);
    let locked = stack.verify(&mobile, "000000").await;
    assert_eq!(locked.status, 429);
    assert!(
        locked.headers["retry-after"]
            .to_str()
            .unwrap()
            .parse::<u32>()
            .unwrap()
            > 3_500
    );
    assert_eq!(
        locked.headers["ratelimit-policy"],
        "\"guesses-per-number\";q=10;w=3600"
    );

    stack.user().await;
}

async fn a_hundred_right_guesses_at_once_sign_in_once(stack: &Stack) {
    let mobile = stack.mobile();
    let code = stack.code(&mobile).await;
    let answers = join_all((0..100).map(|_| stack.verify(&mobile, &code))).await;
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 200).count(),
        1
    );
    assert!(
        answers
            .iter()
            .all(|answer| [200, 401, 429].contains(&answer.status))
    );
    assert_eq!(
        stack
            .count(&format!(
                "sessions join users on users.id = user_id where mobile = '{mobile}'"
            ))
            .await,
        1
    );
}

/// What signing up answers to a client at an address.
async fn sign_up_from(stack: &Stack, address: &str, mobile: &str) -> u64 {
    let event = include_str!("../../../events/auth-signup.json");
    let mut event: Value = serde_json::from_str(event).unwrap();
    event["requestContext"]["http"]["sourceIp"] = json!(address);
    event["body"] = json!({ "mobile": mobile }).to_string().into();
    let answer = stack.system.invoke("auth-signup", &event).await.unwrap();
    answer["statusCode"].as_u64().unwrap()
}

/// Row 27.
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
        let request = stack.request("/auth/signup", &json!({ "mobile": stack.mobile() }));
        let answer = stack.send(request.header(header, "203.0.113.7")).await;
        assert_eq!(answer.status, 429, "{header}");
        assert_eq!(
            answer.headers["ratelimit-policy"],
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
    let mut answers = join_all(flood).await;
    answers.sort_unstable();
    assert_eq!((answers[0], answers[1], answers[29]), (202, 429, 429));
    let other = sign_up_from(&stack, "198.51.100.1", &stack.mobile()).await;
    assert_eq!(other, 202);
}
