//! Sessions: how they end. How they go on is tested beside `auth-refresh`.

use local::harness::{Stack, User};
use reqwest::Method;
use serde_json::json;

/// Signs in once more, with a password.
async fn another_session<'a>(stack: &'a Stack, user: &User<'_>) -> User<'a> {
    let password = "correct horse battery";
    // Only the first time: later, one is set.
    let change = json!({ "new_password": password });
    user.json(Method::POST, "/auth/change-password", &change)
        .await;
    let session = stack.log_in(&user.mobile, password).await.expect(200);
    User::of_session(stack, &user.mobile, &session)
}

pub async fn logging_out_ends_this_session_or_all(stack: &Stack) {
    let user = stack.user().await;
    let others = [
        another_session(stack, &user).await,
        another_session(stack, &user).await,
    ];
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

pub async fn a_deleted_account_is_gone_with_everything(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let message = user.post(&room, "hello").await;
    user.settled(&message).await;
    user.call(Method::DELETE, "/user/me", 204).await;

    assert_eq!(stack.refresh(&user.refresh_token).await.status, 401);
    assert_eq!(user.get("/user/me").await.status, 401);
    assert_eq!(user.get(&room).await.status, 404);
    assert_eq!(user.try_post(&room, "hello").await.status, 404);
    for table in ["sessions", "chatrooms", "messages", "daily_usage"] {
        let rows = format!("{table} where user_id = '{}'", user.id);
        assert_eq!(stack.count(&rows).await, 0, "{table}");
    }
}
