//! Sessions: how they go on, and how they end.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::stack::Stack;

pub async fn a_hundred_refreshes_at_once_leave_one_session_and_an_honest_client(stack: &Stack) {
    let user = stack.user().await;
    let answers = join_all((0..100).map(|_| stack.refresh(&user.refresh_token))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(
        stack
            .count(&format!("sessions where user_id = '{}'", user.id))
            .await,
        1
    );
    let last = answers[0].body["refresh_token"].as_str().unwrap();
    assert_eq!(stack.refresh(last).await.status, 200);
}

pub async fn logging_out_ends_this_session_or_all(stack: &Stack) {
    let user = stack.user().await;
    let others = [
        stack.second_session(&user).await,
        stack.second_session(&user).await,
    ];
    let answer = user.send(user.request(Method::POST, "/auth/logout")).await;
    assert_eq!(answer.status, 204);
    assert_eq!(stack.refresh(&user.refresh_token).await.status, 401);
    assert_eq!(stack.refresh(&others[0]).await.status, 200);

    let everywhere = user
        .request(Method::POST, "/auth/logout")
        .json(&json!({ "everywhere": true }));
    assert_eq!(user.send(everywhere).await.status, 204);
    assert_eq!(stack.refresh(&others[1]).await.status, 401);
}

pub async fn a_deleted_account_is_gone_with_everything(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let message = user.post(&room, "hello").await;
    user.settled(&message).await;
    assert_eq!(
        user.send(user.request(Method::DELETE, "/user/me"))
            .await
            .status,
        204
    );

    assert_eq!(stack.refresh(&user.refresh_token).await.status, 401);
    assert_eq!(user.get("/user/me").await.status, 401);
    assert_eq!(user.get(&room).await.status, 404);
    assert_eq!(user.try_post(&room, "hello").await.status, 404);
    for table in ["sessions", "chatrooms", "messages", "daily_usage"] {
        assert_eq!(
            stack
                .count(&format!("{table} where user_id = '{}'", user.id))
                .await,
            0,
            "{table}"
        );
    }
}
