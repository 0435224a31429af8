//! One statement decides; these are the races it must win.

use futures_util::future::join_all;

use super::*;
use crate::testing;

async fn posting(basic: i32) -> Posting {
    Posting { database: testing::database().await, limits: DailyLimits { basic, pro: 1_000 } }
}

fn a_post(content: &str) -> Post {
    Post { content: Content::try_from(content.to_owned()).unwrap() }
}

/// Connections of their own, so that posts meet in Postgres and not in one pipeline.
async fn post_at_once(
    posting: &Posting,
    times: usize,
    (user, room): (UserId, ChatroomId),
    key: Option<&str>,
) -> Vec<Result<Message>> {
    let post = &a_post("hello");
    let posts = (0..times).map(|_| async move {
        let twin = Posting { database: posting.database.another_connection(), limits: posting.limits };
        twin.accept(user, room, key, post).await
    });
    join_all(posts).await
}

async fn count(posting: &Posting, sql: &str) -> i64 {
    posting.database.query_one(sql, &[]).await.unwrap().get(0)
}

/// How many messages are stored, and how many count against a day.
async fn stored(posting: &Posting) -> (i64, i64) {
    const USED: &str = "select coalesce(sum(used), 0)::int8 from daily_usage";
    let messages = count(posting, "select count(*) from messages").await;
    (messages, count(posting, USED).await)
}

#[tokio::test]
async fn of_forty_parallel_posts_exactly_the_allowed_five_are_accepted() {
    let posting = posting(5).await;
    let caller = testing::user(&posting.database).await;
    let room = testing::chatroom(&posting.database, caller).await;

    let outcomes = post_at_once(&posting, 40, (caller.user, room), None).await;

    let refused = outcomes.iter().filter(|outcome| matches!(outcome, Err(Error::OverLimit(_))));
    assert_eq!(refused.count(), 35);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 5);
    assert_eq!(stored(&posting).await, (5, 5));
}

#[tokio::test]
async fn twenty_parallel_posts_with_one_key_make_one_message_even_at_the_limit() {
    let posting = posting(1).await;
    let caller = testing::user(&posting.database).await;
    let room = testing::chatroom(&posting.database, caller).await;

    let outcomes = post_at_once(&posting, 20, (caller.user, room), Some("key")).await;

    let first = outcomes[0].as_ref().unwrap();
    for outcome in &outcomes {
        let message = outcome.as_ref().unwrap();
        assert_eq!((message.id, message.created_at), (first.id, first.created_at));
    }
    assert_eq!(stored(&posting).await, (1, 1));
}

#[tokio::test]
async fn a_key_is_good_for_one_body_in_one_room() {
    let posting = posting(5).await;
    let caller = testing::user(&posting.database).await;
    let room = testing::chatroom(&posting.database, caller).await;
    let other = testing::chatroom(&posting.database, caller).await;
    let post = async |room, content| posting.accept(caller.user, room, Some("key"), &a_post(content)).await;
    post(room, "hello").await.unwrap();

    let again = post(room, "goodbye").await;
    assert!(matches!(again, Err(Error::KeyReused)), "another body");
    let elsewhere = post(other, "hello").await;
    assert!(matches!(elsewhere, Err(Error::KeyReused)), "another room");
    assert_eq!(stored(&posting).await, (1, 1));
}

#[tokio::test]
async fn another_users_room_takes_no_message_and_costs_nothing() {
    let posting = posting(5).await;
    let owner = testing::user(&posting.database).await;
    let stranger = testing::user(&posting.database).await;
    let room = testing::chatroom(&posting.database, owner).await;

    let outcome = posting.accept(stranger.user, room, None, &a_post("hello")).await;
    assert!(matches!(outcome, Err(Error::NotFound("chatroom"))));
    assert_eq!(stored(&posting).await, (0, 0));
}

#[tokio::test]
async fn a_statement_sent_twice_accepts_once() {
    let posting = posting(5).await;
    let caller = testing::user(&posting.database).await;
    let room = testing::chatroom(&posting.database, caller).await;
    let id = MessageId::new();
    for _ in 0..2 {
        let outcome = posting.attempt(id, room, caller.user, None, "hello").await;
        assert!(matches!(outcome.unwrap(), Outcome::Accepted(message) if message.id == id));
    }
    assert_eq!(stored(&posting).await, (1, 1));
}

#[tokio::test]
async fn pro_raises_the_limit_at_once() {
    let posting = posting(0).await;
    let caller = testing::user(&posting.database).await;
    let room = testing::chatroom(&posting.database, caller).await;
    let post = async || posting.accept(caller.user, room, None, &a_post("hello")).await;
    assert!(matches!(post().await, Err(Error::OverLimit(_))));

    let pay = "insert into subscriptions (user_id, stripe_customer_id, status) values ($1, 'cus_1', 'active')";
    posting.database.query(pay, &[&caller.user]).await.unwrap();
    post().await.unwrap();
}
