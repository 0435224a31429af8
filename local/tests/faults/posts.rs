//! Rows 1 to 5 and 19: what becomes of a post.

use futures_util::{future::join_all, join};
use reqwest::Method;
use serde_json::json;

use crate::{
    proxy::{Proxy, behind_proxies},
    stack::{DAILY, Stack, services},
    stops::{kill, swept, until, without_workers},
};

/// Row 1.
pub async fn a_post_while_the_queue_is_down_is_answered_once_it_is_back(stack: &Stack) {
    let (stack, lines) = behind_proxies(stack).await;
    let user = stack.user().await;
    let room = user.room().await;
    lines.iter().for_each(Proxy::cut);
    let message = user.post(&room, "hello").await;
    assert!(lines.iter().map(Proxy::broken).sum::<usize>() > 0);
    assert_eq!(user.get(&message).await.body["status"], "queued");

    lines.iter().for_each(Proxy::heal);
    let settled = swept(&stack, &user, &message).await;
    assert_eq!(settled["reply"]["content"], "echo: hello");
    assert_eq!(user.used().await, 1);
}

/// Row 2.
pub async fn a_crash_after_the_commit_and_before_the_wake_up_is_made_up_for_by_the_sweep(
    stack: &Stack,
) {
    let (stack, lines) = behind_proxies(stack).await;
    let _schedules = stack.system.schedules().pause().await;
    let user = stack.user().await;
    let room = user.room().await;
    // The wake-up is under way for ever, and so the process can be killed meanwhile.
    lines.iter().for_each(Proxy::fall_silent);
    let post = user.request(Method::POST, &format!("{room}/message"));
    let post = post.json(&json!({ "content": "hello" })).send();
    let crash = async {
        let committed = async || stack.count("messages").await == 1;
        until("the message is committed", committed).await;
        kill(&stack, "message-send").await;
    };
    let (answer, ()) = join!(post, crash);
    assert!(answer.is_ok_and(|answer| answer.status().is_server_error()));
    lines.iter().for_each(Proxy::heal);
    assert_eq!(stack.system.queue_length().await.unwrap(), 0);

    let database = stack.system.database().await.unwrap();
    let sql = "select id::text from messages";
    let id: String = database.query_one(sql, &[]).await.unwrap().get(0);
    let settled = swept(&stack, &user, &format!("{room}/message/{id}")).await;
    assert_eq!(settled["reply"]["content"], "echo: hello");
    assert_eq!(user.used().await, 1);
}

/// Row 3.
pub async fn a_post_while_postgres_is_down_is_refused_and_leaves_nothing(stack: &Stack) {
    let services = services().with_own_postgres().await.unwrap();
    let stack = stack.another_on(&services, &[]).await;
    let user = stack.user().await;
    let room = user.room().await;
    let workers = without_workers(&stack).await;
    services.postgres().unwrap().stop().await.unwrap();
    assert!(stack.system.database().await.is_err());
    let refused = user.try_post(&room, "hello").await;
    assert_eq!(refused.status, 503);
    assert!(refused.headers.contains_key("retry-after"));

    services.postgres().unwrap().resume().await.unwrap();
    assert_eq!(stack.count("messages").await, 0);
    assert_eq!(user.used().await, 0);
    assert_eq!(stack.system.queue_length().await.unwrap(), 0);
    drop(workers);
    let message = user.post(&room, "hello").await;
    assert_eq!(user.settled(&message).await["status"], "answered");
}

/// Row 4.
pub async fn twenty_equal_idempotency_keys_make_one_message(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let post = async || {
        let request = user.request(Method::POST, &format!("{room}/message"));
        let request = request.header("idempotency-key", "one");
        user.send(request.json(&json!({ "content": "once" }))).await
    };
    let answers = join_all((0..20).map(|_| post())).await;
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (202, &answers[0].body));
    }
    user.settled(answers[0].headers["location"].to_str().unwrap())
        .await;
    let later = post().await;
    assert_eq!(
        (later.status, &later.body),
        (202, &answers[0].body),
        "the answer does not change with the message"
    );
    assert_eq!(
        user.get(&room).await.body["messages"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(user.used().await, 1);
}

/// Row 5.
pub async fn an_idempotency_key_with_another_body_is_refused(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let post = async |content: &str| {
        let request = user.request(Method::POST, &format!("{room}/message"));
        let request = request.header("idempotency-key", "one");
        user.send(request.json(&json!({ "content": content })))
            .await
    };
    assert_eq!(post("first").await.status, 202);
    let answer = post("second").await;
    assert_eq!(
        (answer.status, &answer.body["type"]),
        (422, &json!("/problems/idempotency-key-reused"))
    );
    assert_eq!(user.used().await, 1);
}

/// Row 19.
pub async fn of_forty_parallel_posts_with_five_left_exactly_five_are_accepted(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    for number in 0..DAILY - 5 {
        user.post(&room, &format!("before {number}")).await;
    }
    let answers = join_all((0..40).map(|_| user.try_post(&room, "at once"))).await;
    let accepted = answers.iter().filter(|answer| answer.status == 202).count();
    let refused: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 429)
        .collect();
    assert_eq!((accepted, refused.len()), (5, 35));
    let headers = &refused[0].headers;
    assert_eq!(
        headers["ratelimit-policy"],
        format!("\"daily-messages\";q={DAILY};w=86400")
    );
    assert!(
        headers["ratelimit"]
            .to_str()
            .unwrap()
            .starts_with("\"daily-messages\";r=0;t=")
    );
    assert!(
        headers["retry-after"]
            .to_str()
            .unwrap()
            .parse::<u32>()
            .unwrap()
            <= 86_400
    );
    assert_eq!(i64::from(user.used().await), DAILY);
}
