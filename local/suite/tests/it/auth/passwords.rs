//! Passwords: a second way in, never the only one.

use local_suite::harness::{PASSWORD, Response, Sent, Stack, User, text};

use reqwest::Method;
use serde_json::{Value, json};

use super::invoke_from;

on_every_kind!(
    a_stranger_who_tries_passwords_all_hour_does_not_keep_the_owner_out,
    guessing_passwords_is_limited_and_codes_still_work,
);

on!(sqs:
    right_passwords_are_not_counted,
    a_password_signs_in_and_a_wrong_one_or_an_unknown_number_does_not,
    a_reset_ends_every_session,
    a_change_needs_the_current_password_and_ends_the_other_sessions,
);

const ANOTHER: &str = "staple battery horse";

async fn change(user: &User<'_>, body: &Value) -> Response {
    user.json(Method::POST, "/auth/change-password", body).await
}

/// Sets a first password and signs in with it. Gives the refresh token.
async fn set(user: &User<'_>) -> String {
    user.set_password().await;
    let session = user.api.log_in(&user.mobile, PASSWORD).await.expect(200);
    text(&session["refresh_token"]).to_owned()
}

async fn status(stack: &Stack, user: &User<'_>, password: &str) -> u16 {
    stack.log_in(&user.mobile, password).await.status
}

/// The code to set a new password with.
async fn forgot(stack: &Stack, user: &User<'_>) -> Sent {
    let forgot = json!({ "mobile": user.mobile });
    stack.code_of("/auth/forgot-password", &forgot).await
}

pub async fn a_password_signs_in_and_a_wrong_one_or_an_unknown_number_does_not(stack: &Stack) {
    let user = stack.user().await;
    assert_eq!(status(stack, &user, PASSWORD).await, 401, "none is set yet");
    set(&user).await;
    for (mobile, password) in [(&user.mobile, ANOTHER), (&user.mobile, ""), (&stack.mobile(), PASSWORD)] {
        let response = stack.log_in(mobile, password).await;
        assert_eq!(response.problem(), (401, "wrong-password"));
    }
}

pub async fn a_reset_ends_every_session(stack: &Stack) {
    let user = stack.user().await;
    let other = set(&user).await;
    let sent = forgot(stack, &user).await;
    assert_eq!(stack.reset(&user.mobile, &sent, ANOTHER).await.status, 204);
    let again = stack.reset(&user.mobile, &sent, ANOTHER).await;
    assert_eq!(again.status, 401, "the code is spent");

    for token in [&user.refresh_token, &other] {
        assert_eq!(stack.refresh(token).await.status, 401);
    }
    assert_eq!(status(stack, &user, PASSWORD).await, 401);
    assert_eq!(status(stack, &user, ANOTHER).await, 200);
}

pub async fn a_change_needs_the_current_password_and_ends_the_other_sessions(stack: &Stack) {
    let user = stack.user().await;
    let other = set(&user).await;
    let response = change(&user, &json!({ "new_password": ANOTHER })).await;
    assert_eq!(response.status, 422);
    assert_eq!(response.body["errors"][0]["field"], "current_password");
    let wrong = json!({ "current_password": ANOTHER, "new_password": ANOTHER });
    assert_eq!(change(&user, &wrong).await.status, 401);
    let response = stack.refresh(&other).await;
    assert_eq!(response.status, 200, "nothing has changed yet");

    let right = json!({ "current_password": PASSWORD, "new_password": ANOTHER });
    assert_eq!(change(&user, &right).await.status, 204);
    let response = stack.refresh(&user.refresh_token).await;
    assert_eq!(response.status, 200, "this session goes on");
    assert_eq!(stack.refresh(&other).await.status, 401);
    assert_eq!(status(stack, &user, ANOTHER).await, 200);
}

pub async fn guessing_passwords_is_limited_and_codes_still_work(stack: &Stack) {
    let user = stack.user().await;
    user.set_password().await;
    for _ in 0..10 {
        assert_eq!(status(stack, &user, ANOTHER).await, 401);
    }
    let locked = status(stack, &user, PASSWORD).await;
    assert_eq!(locked, 429, "even the right one, for an hour");
    // The owner has another way in, which the guesser has not used up.
    let sent = forgot(stack, &user).await;
    assert_eq!(stack.reset(&user.mobile, &sent, ANOTHER).await.status, 204);
}

/// The response to logging in from an address, which only an event can make up.
async fn log_in_from(stack: &Stack, address: &str, mobile: &str, password: &str) -> u64 {
    let login = json!({ "mobile": mobile, "password": password });
    invoke_from(stack, "auth-login", address, &login).await.0
}

pub async fn right_passwords_are_not_counted(stack: &Stack) {
    let user = stack.user().await;
    set(&user).await;
    for login in 0..12 {
        assert_eq!(status(stack, &user, PASSWORD).await, 200, "{login}");
    }
}

pub async fn a_stranger_who_tries_passwords_all_hour_does_not_keep_the_owner_out(stack: &Stack) {
    let user = stack.user().await;
    set(&user).await;
    let stranger = async || log_in_from(stack, "203.0.113.7", &user.mobile, ANOTHER).await;
    for _ in 0..10 {
        assert_eq!(stranger().await, 401);
    }
    assert_eq!(stranger().await, 429);
    assert_eq!(status(stack, &user, PASSWORD).await, 200);
}
