//! One statement decides; these are the races it must win.

use futures_util::future::join_all;

use super::*;
use crate::{auth::Caller, database::Parameter, domain::Each, testing};

/// Limits of which only that of Basic's messages is ever met.
fn limits(basic: i32) -> DailyLimits {
    DailyLimits {
        messages: Each { basic, pro: 1_000 },
        tokens: Each { basic: 1_000_000, pro: 1_000_000 },
        posts_per_message: 3,
    }
}

async fn posting(basic: i32) -> Posting {
    Posting { database: testing::database().await, limits: limits(basic) }
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
) -> Vec<Result<Accepted>> {
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
        assert_eq!(outcome.as_ref().unwrap().message.id, first.message.id);
    }
    let new = outcomes.iter().flatten().filter(|accepted| accepted.is_new);
    assert_eq!(new.count(), 1, "one of them wakes the room");
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
        assert!(matches!(outcome.unwrap(), Outcome::Accepted(it) if it.is_new && it.message.id == id));
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

/// The policy of the limit that a post meets, if it meets one.
async fn refused(posting: &Posting, caller: Caller, room: ChatroomId) -> Option<&'static str> {
    match posting.accept(caller.user, room, None, &a_post("hello")).await {
        Ok(_) => None,
        Err(Error::OverLimit(over)) => Some(over.policy),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_user_without_tokens_or_posts_left_is_told_which_of_them() {
    let posting = posting(5).await;
    for (change, policy) in [
        ("tokens = 999999", None),
        ("tokens = 1000000", Some("daily-tokens")),
        ("accepted = 14, used = 0", None),
        ("accepted = 15, used = 0", Some("daily-posts")),
        ("used = 5", Some("daily-messages")),
    ] {
        let caller = testing::user(&posting.database).await;
        let room = testing::chatroom(&posting.database, caller).await;
        assert_eq!(refused(&posting, caller, room).await, None);
        let change_day = format!("update daily_usage set {change} where user_id = $1");
        posting.database.query(&change_day, &[&caller.user]).await.unwrap();
        assert_eq!(refused(&posting, caller, room).await, policy, "{change}");
    }
}

#[tokio::test]
async fn what_deleted_accounts_of_the_number_did_today_counts_whenever_it_is_stored() {
    let posting = posting(5).await;
    for (departed, policy) in [
        ("4, 4, 0, 0", None),
        ("5, 5, 0, 0", Some("daily-messages")),
        ("0, 15, 0, 0", Some("daily-posts")),
        ("0, 0, 0, 1000000", Some("daily-tokens")),
    ] {
        let caller = testing::user(&posting.database).await;
        let room = testing::chatroom(&posting.database, caller).await;
        let number = "update users set number_hash = uuid_send(id) where id = $1";
        posting.database.query(number, &[&caller.user]).await.unwrap();
        let depart = format!(
            "insert into departed_usage (number_hash, day, used, accepted, refunded, tokens)
             select number_hash, (now() at time zone 'utc')::date, {departed} from users where id = $1"
        );
        posting.database.query(&depart, &[&caller.user]).await.unwrap();
        assert_eq!(refused(&posting, caller, room).await, policy, "{departed}");
        let all = "update departed_usage set used = 5";
        posting.database.query(all, &[]).await.unwrap();
        assert!(refused(&posting, caller, room).await.is_some(), "it counts on the second post, too");
    }
}

#[tokio::test]
async fn among_ten_thousand_users_a_post_reads_by_indexes() {
    let database = testing::database().await;
    testing::crowd(&database).await;
    let (user, room, message) = (UserId::new(), ChatroomId::new(), MessageId::new());
    let (key, content) = ("key", "hello");
    let parameters: [&dyn Parameter; 10] =
        [&user, &room, &message, &key, &content, &5, &1_000, &200_000_i64, &2_000_000_i64, &3];
    let plan = testing::plan(&database, ACCEPT, &parameters).await;
    assert!(!plan.contains("Seq Scan"), "{plan}");
}

#[tokio::test]
async fn a_day_ends_by_the_clock_of_the_database() {
    let posting = posting(0).await;
    let caller = testing::user(&posting.database).await;
    let room = testing::chatroom(&posting.database, caller).await;
    // Postgres takes its clock from the first schema that has one.
    for sql in [
        "create schema clock",
        "create function clock.now() returns timestamptz stable
         return date_trunc('day', pg_catalog.now(), 'utc') + interval '23 hours 59 minutes 30 seconds'",
        "do $$ begin
            execute format('alter database %I set search_path = clock, pg_catalog, public', current_database());
        end $$",
    ] {
        posting.database.query(sql, &[]).await.unwrap();
    }
    let posting = Posting { database: posting.database.another_connection(), limits: posting.limits };
    let refused = posting.accept(caller.user, room, None, &a_post("hello")).await;
    let Err(Error::OverLimit(over)) = refused else { panic!("{refused:?}") };
    assert_eq!(over.retry_after, Duration::from_secs(30));
}
