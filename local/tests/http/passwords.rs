//! Passwords: a second way in, never the only one.

use reqwest::Method;
use serde_json::json;

use crate::stack::{Stack, User};

const PASSWORD: &str = "correct horse battery";
const ANOTHER: &str = "staple battery horse";

/// Sets a first password.
async fn set(user: &User<'_>) {
    let request = user.request(Method::POST, "/auth/change-password");
    let answer = user
        .send(request.json(&json!({ "new_password": PASSWORD })))
        .await;
    assert_eq!(answer.status, 204, "{}", answer.body);
}

async fn log_in(stack: &Stack, mobile: &str, password: &str) -> (u16, String) {
    let answer = stack
        .post(
            "/auth/login",
            &json!({ "mobile": mobile, "password": password }),
        )
        .await;
    let token = answer.body["refresh_token"].as_str().unwrap_or_default();
    (answer.status, token.to_owned())
}

pub async fn a_password_signs_in_and_a_wrong_one_or_an_unknown_number_does_not(stack: &Stack) {
    let user = stack.user().await;
    assert_eq!(
        log_in(stack, &user.mobile, PASSWORD).await.0,
        401,
        "no password is set yet"
    );
    set(&user).await;
    assert_eq!(log_in(stack, &user.mobile, PASSWORD).await.0, 200);
    for (mobile, password) in [
        (&user.mobile, ANOTHER),
        (&user.mobile, ""),
        (&stack.mobile(), PASSWORD),
    ] {
        let answer = stack
            .post(
                "/auth/login",
                &json!({ "mobile": mobile, "password": password }),
            )
            .await;
        assert_eq!(
            (answer.status, &answer.body["type"]),
            (401, &json!("/problems/wrong-password"))
        );
    }
}

pub async fn weak_passwords_are_refused(stack: &Stack) {
    let user = stack.user().await;
    let long = "x".repeat(129);
    for weak in [
        "",
        "1234567",
        "password",
        "PASSWORD",
        "12345678",
        "qwertyuiop",
        &long,
    ] {
        let request = user.request(Method::POST, "/auth/change-password");
        let answer = user
            .send(request.json(&json!({ "new_password": weak })))
            .await;
        assert_eq!(
            (answer.status, &answer.body["errors"][0]["field"]),
            (422, &json!("new_password")),
            "{weak}"
        );
    }
}

pub async fn a_reset_ends_every_session(stack: &Stack) {
    let user = stack.user().await;
    set(&user).await;
    let (_, other) = log_in(stack, &user.mobile, PASSWORD).await;
    let code = stack
        .post("/auth/forgot-password", &json!({ "mobile": user.mobile }))
        .await
        .body["otp"]
        .clone();
    let reset = json!({ "mobile": user.mobile, "otp": code, "new_password": ANOTHER });
    assert_eq!(stack.post("/auth/reset-password", &reset).await.status, 204);
    assert_eq!(
        stack.post("/auth/reset-password", &reset).await.status,
        401,
        "the code is spent"
    );

    for token in [&user.refresh_token, &other] {
        assert_eq!(stack.refresh(token).await.status, 401);
    }
    assert_eq!(log_in(stack, &user.mobile, PASSWORD).await.0, 401);
    assert_eq!(log_in(stack, &user.mobile, ANOTHER).await.0, 200);
}

pub async fn a_change_needs_the_current_password_and_ends_the_other_sessions(stack: &Stack) {
    let user = stack.user().await;
    set(&user).await;
    let (_, other) = log_in(stack, &user.mobile, PASSWORD).await;
    let change = async |body| {
        let request = user.request(Method::POST, "/auth/change-password");
        user.send(request.json(&body)).await
    };
    let answer = change(json!({ "new_password": ANOTHER })).await;
    assert_eq!(
        (answer.status, &answer.body["errors"][0]["field"]),
        (422, &json!("current_password"))
    );
    let wrong = change(json!({ "current_password": ANOTHER, "new_password": ANOTHER })).await;
    assert_eq!(wrong.status, 401);
    assert_eq!(
        stack.refresh(&other).await.status,
        200,
        "nothing has changed yet"
    );

    let right = change(json!({ "current_password": PASSWORD, "new_password": ANOTHER })).await;
    assert_eq!(right.status, 204);
    assert_eq!(
        stack.refresh(&user.refresh_token).await.status,
        200,
        "this session goes on"
    );
    assert_eq!(stack.refresh(&other).await.status, 401);
    assert_eq!(log_in(stack, &user.mobile, ANOTHER).await.0, 200);
}

pub async fn guessing_passwords_is_limited_and_codes_still_work(stack: &Stack) {
    let user = stack.user().await;
    set(&user).await;
    for _ in 0..10 {
        assert_eq!(log_in(stack, &user.mobile, ANOTHER).await.0, 401);
    }
    assert_eq!(
        log_in(stack, &user.mobile, PASSWORD).await.0,
        429,
        "even the right one, for an hour"
    );
    // The owner has another way in, which the guesser has not used up.
    let code = stack
        .post("/auth/forgot-password", &json!({ "mobile": user.mobile }))
        .await
        .body["otp"]
        .clone();
    let reset = json!({ "mobile": user.mobile, "otp": code, "new_password": ANOTHER });
    assert_eq!(stack.post("/auth/reset-password", &reset).await.status, 204);
}
