//! Sessions: how they end. How they go on is tested beside `auth-refresh`.

use local_suite::harness::{PASSWORD, Stack, User};
use reqwest::Method;
use serde_json::json;

use super::invoke_from;

on_every_kind!(neither_the_state_store_nor_a_log_names_a_number);

on!(redis:
    a_user_sees_the_sessions_and_ends_one,
    a_token_alone_neither_deletes_the_account_nor_takes_it_over,
    an_ended_session_changes_nothing_for_good,
    an_account_that_is_deleted_and_opened_again_has_its_day_used_up,
    logging_out_ends_this_session_or_all,
    a_deleted_account_is_gone_with_everything,
);

/// Signs in once more, with a password.
pub async fn another_session<'a>(stack: &'a Stack, user: &User<'_>) -> User<'a> {
    user.set_password().await;
    let session = stack.log_in(&user.mobile, PASSWORD).await.expect(200);
    User::of_session(stack, &user.mobile, &session)
}

pub async fn logging_out_ends_this_session_or_all(stack: &Stack) {
    let user = stack.user().await;
    let others = [another_session(stack, &user).await, another_session(stack, &user).await];
    user.call(Method::POST, "/auth/logout", 204).await;
    assert_eq!(stack.refresh(&user.refresh_token).await.status, 401);

    let everywhere = json!({ "everywhere": true });
    let log_out = async |user: &User<'_>| {
        let response = user.json(Method::POST, "/auth/logout", &everywhere).await;
        response.status
    };
    assert_eq!(log_out(&user).await, 401, "an ended session ends no other");
    assert_eq!(stack.refresh(&others[0].refresh_token).await.status, 200);
    assert_eq!(log_out(&others[0]).await, 204);
    assert_eq!(stack.refresh(&others[1].refresh_token).await.status, 401);
}

/// Access tokens outlive their session by minutes; what they may still do is read.
pub async fn an_ended_session_changes_nothing_for_good(stack: &Stack) {
    for reset in [false, true] {
        let user = stack.user().await;
        let room = user.room().await;
        if reset {
            let forgot = json!({ "mobile": user.mobile });
            let sent = stack.code_of("/auth/forgot-password", &forgot).await;
            let response = stack.reset(&user.mobile, &sent, "correct horse battery").await;
            assert_eq!(response.status, 204);
        } else {
            let everywhere = json!({ "everywhere": true });
            let response = user.json(Method::POST, "/auth/logout", &everywhere).await;
            assert_eq!(response.status, 204);
        }
        for (method, path, body) in [
            (Method::POST, "/auth/change-password", json!({ "new_password": "staple battery horse" })),
            (Method::POST, "/auth/logout", json!({ "everywhere": true })),
            (Method::PATCH, "/user/me", json!({ "name": "Mallory" })),
            (Method::DELETE, &room, json!(null)),
            (Method::DELETE, "/user/me/sessions/019b0000-0000-7000-8000-000000000005", json!(null)),
            (Method::DELETE, "/user/me", json!({})),
        ] {
            let response = user.json(method, path, &body).await;
            assert_eq!(response.problem(), (401, "unauthenticated"), "{path}");
        }
        let account = user.call(Method::GET, "/user/me", 200).await;
        assert_eq!(account["name"], "Ada");
    }
}

pub async fn an_account_that_is_deleted_and_opened_again_has_its_day_used_up(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    for content in ["one", "two"] {
        let message = user.post(&room, content).await;
        user.settled(&message).await;
    }
    user.leave(204).await;
    let known = format!("departed_usage where encode(number_hash, 'escape') like '%{}%'", &user.mobile[1..]);
    assert_eq!(stack.count(&known).await, 0, "the number is hashed");

    // The code of these thirty seconds went to the first account.
    let number = json!({ "mobile": user.mobile, "name": "Ada" });
    let (_, accepted) = invoke_from(stack, "auth-signup", "203.0.113.7", &number).await;
    let sent = stack.received(&user.mobile, &accepted).await;
    let session = stack.verify(&user.mobile, &sent).await.expect(200);
    let again = User::of_session(stack, &user.mobile, &session);
    assert_ne!(again.id, user.id);
    assert_eq!(again.status().await["usage"]["used"], 2);
}

pub async fn neither_the_state_store_nor_a_log_names_a_number(stack: &Stack) {
    let stack = stack.another(&[]).await;
    let user = stack.user().await;
    let number = json!({ "mobile": user.mobile });
    let sent = stack.code_of("/auth/forgot-password", &number).await;
    let wrong = stack.reset(&user.mobile, &sent.wrong(), "correct horse battery").await;
    assert_eq!(wrong.status, 401);
    assert_eq!(stack.log_in(&user.mobile, "correct horse battery").await.status, 401);
    user.leave(204).await;

    let state = stack.system.state().await.unwrap();
    assert!(state.contains("passwords:") && state.contains("familiar:"), "{state}");
    let digits = &user.mobile[1..];
    assert!(!state.contains(digits) && !state.contains("127.0.0.1"), "{state}");
    for log in std::fs::read_dir(stack.system.logs()).unwrap() {
        let log = std::fs::read_to_string(log.unwrap().path()).unwrap();
        assert!(!log.contains(digits), "{log}");
    }
}

pub async fn a_user_sees_the_sessions_and_ends_one(stack: &Stack) {
    let user = stack.user().await;
    let phone = another_session(stack, &user).await;
    let sessions = phone.get("/user/me/sessions").await.expect(200);
    let sessions = sessions["items"].as_array().unwrap();
    let current: Vec<_> = sessions.iter().map(|session| session["current"].as_bool().unwrap()).collect();
    assert_eq!(current, [true, false], "newest first");
    let first = format!("/user/me/sessions/{}", sessions[1]["id"].as_str().unwrap());
    phone.call(Method::DELETE, &first, 204).await;
    phone.call(Method::DELETE, &first, 404).await;
    assert_eq!(stack.refresh(&user.refresh_token).await.status, 401);
    assert_eq!(user.get("/user/me/sessions").await.status, 401);
    assert_eq!(stack.refresh(&phone.refresh_token).await.status, 200);
}

/// Whoever gets hold of an access token has minutes, and no more.
pub async fn a_token_alone_neither_deletes_the_account_nor_takes_it_over(stack: &Stack) {
    let user = stack.user().await;
    let sign_in = stack.user().await; // whose code is for another number
    let anothers = sign_in.confirmation().await;
    for (method, path, body) in [
        (Method::DELETE, "/user/me", json!({})),
        (Method::PATCH, "/user/me", json!({ "email": "mallory@example.com" })),
        (Method::POST, "/auth/change-password", json!({ "new_password": "staple battery horse" })),
    ] {
        let bare = user.json(method.clone(), path, &body).await;
        assert_eq!(bare.problem(), (403, "sign-in-again"), "{path}");
        let mut wrong = body.clone();
        wrong.as_object_mut().unwrap().extend(anothers.as_object().unwrap().clone());
        let wrong = user.json(method, path, &wrong).await;
        assert_eq!(wrong.problem(), (401, "wrong-code"), "{path}");
    }
    user.call(Method::DELETE, "/user/me", 403).await;

    let mut email = user.confirmation().await;
    email["email"] = "ada@example.com".into();
    let changed = user.json(Method::PATCH, "/user/me", &email).await.expect(200);
    assert_eq!(changed["email"], "ada@example.com");
    let again = user.json(Method::PATCH, "/user/me", &email).await;
    assert_eq!(again.problem(), (401, "wrong-code"), "a code works once");
}

pub async fn a_deleted_account_is_gone_with_everything(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let message = user.post(&room, "hello").await;
    user.settled(&message).await;
    user.leave(204).await;

    assert_eq!(stack.refresh(&user.refresh_token).await.status, 401);
    assert_eq!(user.get("/user/me").await.status, 401);
    assert_eq!(user.get(&room).await.status, 404);
    assert_eq!(user.get(&message).await.status, 404);
    assert_eq!(user.try_post(&room, "hello").await.status, 404);
    let number = format!("users where mobile = '{}'", user.mobile);
    assert_eq!(stack.count(&number).await, 0, "the number is free for another account");

    stack.system.invoke("message-sweep", &json!({})).await.unwrap();
    for table in ["sessions", "chatrooms", "messages", "daily_usage"] {
        let rows = format!("{table} where user_id = '{}'", user.id);
        assert_eq!(stack.count(&rows).await, 0, "{table}");
    }
}
