//! Row 29: a refresh token that was stolen.

use crate::stack::Stack;

/// Row 29.
pub async fn a_spent_refresh_token_ends_the_session_for_both_holders(stack: &Stack) {
    let user = stack.user().await;
    let stolen = &user.refresh_token;
    let current = stack.refresh(stolen).await;
    assert_eq!(current.status, 200);
    let current = current.body["refresh_token"].as_str().unwrap().to_owned();
    // The grace for two tabs is over.
    let sql = format!(
        "update refresh_tokens set spent_at = spent_at - interval '31 seconds'
         from sessions where sessions.id = session_id and user_id = '{}'",
        user.id
    );
    stack
        .system
        .database()
        .await
        .unwrap()
        .execute(&sql, &[])
        .await
        .unwrap();

    assert_eq!(stack.refresh(stolen).await.status, 401);
    assert_eq!(stack.refresh(&current).await.status, 401);
}
