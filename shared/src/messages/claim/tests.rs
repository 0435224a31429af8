//! The protocol under races: many workers, each with a connection of its own, on one room.

use futures_util::future::join_all;

use super::*;
use crate::{
    auth::Caller,
    gemini::Written,
    messages::{End, Settled},
    testing,
};

const TERMS: Terms =
    Terms { lease: Duration::from_secs(20), deadline: Duration::from_mins(15), history_tokens: 1_000_000 };

fn wake_up(owner: Caller, room: ChatroomId) -> WakeUp {
    WakeUp { user_id: owner.user, chatroom_id: room }
}

async fn claim(database: &Database, owner: Caller, room: ChatroomId) -> Option<Lease> {
    match Claim::attempt(database, wake_up(owner, room), &TERMS).await.unwrap() {
        Claim::Held(lease) => Some(*lease),
        Claim::Nothing | Claim::Outdated => None,
    }
}

/// Stores a reply.
async fn settle(lease: &Lease, database: &Database, reply: &str) -> Option<Settled> {
    let end = End::Answered { finish_reason: "STOP".into() };
    lease.settle(database, end, Written::text(reply.into())).await.unwrap()
}

async fn fail(lease: &Lease, database: &Database, is_free: bool) -> Option<Settled> {
    let reason = if is_free { "EMPTY_REPLY" } else { "SAFETY" };
    lease.settle(database, End::Failed { reason: reason.into() }, Written::default()).await.unwrap()
}

async fn checkpoint(lease: &Lease, database: &Database, draft: &str) -> Option<bool> {
    lease.checkpoint(database, TERMS.lease, draft).await.unwrap()
}

async fn count(database: &Database, sql: &str) -> i64 {
    database.query_one(sql, &[]).await.unwrap().get(0)
}

/// Statements of this database that wait for a lock.
const WAITING: &str = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'";

const UNSETTLED: &str = "select count(*) from messages where settled_at is null";

#[tokio::test]
async fn sixteen_workers_on_one_room_answer_each_message_once_and_in_order() {
    const MESSAGES: usize = 60;
    let database = testing::database().await;
    let owner = testing::user(&database).await;
    let room = testing::chatroom(&database, owner).await;
    for number in 0..MESSAGES {
        testing::message(&database, owner, room, &number.to_string()).await;
    }

    let work = async || {
        let database = database.another_connection();
        let mut settled = Vec::new();
        while count(&database, UNSETTLED).await > 0 {
            let Some(lease) = claim(&database, owner, room).await else {
                continue;
            };
            let prompts: Vec<_> = lease.history.iter().map(|turn| turn.prompt.clone()).collect();
            let expected: Vec<_> = (0..lease.history.len()).map(|number| number.to_string()).collect();
            assert_eq!(prompts, expected, "the history is complete and in order");
            assert_eq!(lease.prompt, lease.history.len().to_string(), "it is the oldest one's turn");
            settle(&lease, &database, &lease.prompt).await;
            settled.push(lease.message);
        }
        settled
    };
    let settled = join_all((0..16).map(|_| work())).await.concat();

    assert_eq!(settled.len(), MESSAGES, "no message was held twice");
    assert_eq!(count(&database, "select count(*) from messages where reply = content").await, 60);
    assert_eq!(count(&database, "select max(asked)::int8 from messages").await, 1);
}

#[tokio::test]
async fn a_claim_that_waited_for_its_room_sees_what_became_of_the_message_meanwhile() {
    for change in
        ["status = 'failed', failure = 'SAFETY', settled_at = now()", "not_before = now() + interval '1 minute'"]
    {
        let database = testing::database().await;
        let owner = testing::user(&database).await;
        let room = testing::chatroom(&database, owner).await;
        testing::message(&database, owner, room, "hello").await;
        let other = database.another_connection();
        let change = format!("update messages set {change}");
        for sql in ["begin", "update chatrooms set title = title", &change] {
            other.query(sql, &[]).await.unwrap();
        }
        let meanwhile = async {
            let watcher = database.another_connection();
            while count(&watcher, WAITING).await == 0 {}
            other.query("commit", &[]).await.unwrap();
        };
        let claim = Claim::attempt(&database, wake_up(owner, room), &TERMS);
        let (claim, ()) = tokio::join!(claim, meanwhile);
        assert!(matches!(claim, Ok(Claim::Outdated)), "{change}");
    }
}

#[tokio::test]
async fn a_worker_that_lost_its_room_changes_nothing() {
    let database = testing::database().await;
    let owner = testing::user(&database).await;
    let room = testing::chatroom(&database, owner).await;
    testing::message(&database, owner, room, "hello").await;
    let stalled = claim(&database, owner, room).await.unwrap();
    let expire = "update chatrooms set answering_until = now() - interval '1 second'";
    database.query(expire, &[]).await.unwrap();
    let current = claim(&database, owner, room).await.unwrap();
    assert_eq!(current.message, stalled.message);

    assert_eq!(checkpoint(&stalled, &database, "late").await, None);
    assert!(settle(&stalled, &database, "late").await.is_none());
    assert!(fail(&stalled, &database, true).await.is_none());
    stalled.defer(&database, Duration::from_mins(1), Trouble::Other, &Written::default()).await.unwrap();
    assert_eq!(count(&database, "select count(*) from messages where status = 'answering'").await, 1);
    assert_eq!(count(&database, "select sum(used)::int8 from daily_usage").await, 1);

    assert_eq!(checkpoint(&current, &database, "in").await, Some(false));
    settle(&current, &database, "in time").await;
    assert_eq!(count(&database, "select count(*) from messages where reply = 'in time'").await, 1);
}

#[tokio::test]
async fn a_failed_message_gives_its_quota_back_once() {
    let database = testing::database().await;
    let owner = testing::user(&database).await;
    let room = testing::chatroom(&database, owner).await;
    testing::message(&database, owner, room, "hello").await;
    let lease = claim(&database, owner, room).await.unwrap();
    for _ in 0..2 {
        fail(&lease, &database, true).await;
    }
    assert_eq!(count(&database, "select sum(used)::int8 from daily_usage").await, 0);
    assert_eq!(count(&database, "select count(*) from messages where failure = 'EMPTY_REPLY'").await, 1);
}

#[tokio::test]
async fn a_user_whose_messages_fail_gets_no_more_of_them_back_than_a_day_allows() {
    let database = testing::database().await;
    let owner = testing::user(&database).await;
    let room = testing::chatroom(&database, owner).await;
    for _ in 0..7 {
        testing::message(&database, owner, room, "hello").await;
    }
    database.query("update daily_usage set refundable = 5", &[]).await.unwrap();
    for _ in 0..7 {
        let lease = claim(&database, owner, room).await.unwrap();
        fail(&lease, &database, true).await;
    }
    assert_eq!(count(&database, "select used::int8 from daily_usage").await, 2);
    assert_eq!(count(&database, "select refunded::int8 from daily_usage").await, 5);
}

#[tokio::test]
async fn a_claim_says_whether_the_tokens_of_the_day_are_used_up() {
    let database = testing::database().await;
    let owner = testing::user(&database).await;
    let room = testing::chatroom(&database, owner).await;
    testing::message(&database, owner, room, "hello").await;
    for (tokens, is_beyond_budget) in [(99, false), (100, true)] {
        let spend = format!("update daily_usage set tokens = {tokens}, budget = 100");
        database.query(&spend, &[]).await.unwrap();
        let lease = claim(&database, owner, room).await.unwrap();
        assert_eq!(lease.is_beyond_budget, is_beyond_budget, "{tokens}");
        database.query(DIE, &[]).await.unwrap();
    }
}

#[tokio::test]
async fn a_worker_that_ends_its_work_twice_is_told_the_same_twice() {
    let database = testing::database().await;
    let owner = testing::user(&database).await;
    let room = testing::chatroom(&database, owner).await;
    for prompt in ["deferred", "answered", "last"] {
        testing::message(&database, owner, room, prompt).await;
    }
    let lease = claim(&database, owner, room).await.unwrap();
    for _ in 0..2 {
        let deferred = lease.defer(&database, Duration::ZERO, Trouble::Other, &Written::default()).await;
        assert_eq!(deferred.unwrap(), Some(Duration::ZERO));
    }
    let lease = claim(&database, owner, room).await.unwrap();
    assert_eq!(lease.deferred_for(Trouble::Other), 1);
    for _ in 0..2 {
        assert!(fail(&lease, &database, false).await.unwrap().more_wait);
    }
    let lease = claim(&database, owner, room).await.unwrap();
    for _ in 0..2 {
        assert!(settle(&lease, &database, "reply").await.unwrap().more_wait);
    }
    let lease = claim(&database, owner, room).await.unwrap();
    for _ in 0..2 {
        assert!(!settle(&lease, &database, "reply").await.unwrap().more_wait);
    }
    let used = "select sum(used)::int8 from daily_usage";
    assert_eq!(count(&database, used).await, 3, "none of them is free");
}

#[tokio::test]
async fn the_deadline_counts_from_the_first_claim_and_not_from_waiting_behind_others() {
    let database = testing::database().await;
    let owner = testing::user(&database).await;
    let room = testing::chatroom(&database, owner).await;
    testing::message(&database, owner, room, "hello").await;
    let old = "update messages set created_at = now() - interval '1 hour'";
    database.query(old, &[]).await.unwrap();
    let lease = claim(&database, owner, room).await.unwrap();
    assert!(lease.deadline > Instant::now() + TERMS.deadline / 2);

    database.query(DIE, &[]).await.unwrap();
    let old = "update messages set claimed_at = now() - interval '1 hour'";
    database.query(old, &[]).await.unwrap();
    let lease = claim(&database, owner, room).await.unwrap();
    assert!(lease.deadline <= Instant::now());
}

#[tokio::test]
async fn a_deferred_message_holds_back_the_later_ones() {
    let database = testing::database().await;
    let owner = testing::user(&database).await;
    let room = testing::chatroom(&database, owner).await;
    let first = testing::message(&database, owner, room, "first").await;
    testing::message(&database, owner, room, "second").await;
    let lease = claim(&database, owner, room).await.unwrap();
    lease.defer(&database, Duration::from_mins(1), Trouble::Other, &Written::default()).await.unwrap();
    assert!(claim(&database, owner, room).await.is_none());

    database.query("update messages set not_before = now()", &[]).await.unwrap();
    let again = claim(&database, owner, room).await.unwrap();
    assert_eq!((again.message, again.asked), (first, 2));
}

#[tokio::test]
async fn history_keeps_whole_turns_within_its_budget_newest_first() {
    let database = testing::database().await;
    let owner = testing::user(&database).await;
    let room = testing::chatroom(&database, owner).await;
    for prompt in ["long".repeat(100), "short".to_owned(), "next".to_owned()] {
        testing::message(&database, owner, room, &prompt).await;
    }
    for _ in 0..2 {
        let lease = claim(&database, owner, room).await.unwrap();
        settle(&lease, &database, "reply").await;
    }
    // The short turn is three estimated tokens, the long one more than a hundred.
    let terms = Terms { history_tokens: 50, ..TERMS };
    let Claim::Held(lease) = Claim::attempt(&database, wake_up(owner, room), &terms).await.unwrap() else {
        panic!("there is a message to answer");
    };
    let turn = Turn { prompt: "short".into(), reply: "reply".into() };
    assert_eq!(lease.history, [turn]);
}

#[tokio::test]
async fn the_last_turn_is_never_forgotten_however_long_it_is() {
    let database = testing::database().await;
    let owner = testing::user(&database).await;
    let room = testing::chatroom(&database, owner).await;
    for prompt in ["語".repeat(11_000), "continue".to_owned()] {
        testing::message(&database, owner, room, &prompt).await;
    }
    let lease = claim(&database, owner, room).await.unwrap();
    settle(&lease, &database, "reply").await;
    let terms = Terms { history_tokens: 8_000, ..TERMS };
    let Claim::Held(lease) = Claim::attempt(&database, wake_up(owner, room), &terms).await.unwrap() else {
        panic!("there is a message to answer");
    };
    let [turn] = lease.history.as_slice() else {
        panic!("{} turns", lease.history.len());
    };
    assert!(turn.prompt.starts_with("[…] 語") && turn.prompt.chars().count() > 7_000);
    assert_eq!(turn.reply, "reply");
}

#[tokio::test]
async fn a_reply_weighs_what_the_model_counted_unless_most_of_it_was_thought() {
    let database = testing::database().await;
    let owner = testing::user(&database).await;
    let room = testing::chatroom(&database, owner).await;
    for prompt in ["first", "second", "next"] {
        testing::message(&database, owner, room, prompt).await;
    }
    for _ in 0..2 {
        let lease = claim(&database, owner, room).await.unwrap();
        settle(&lease, &database, &"word ".repeat(60)).await;
    }
    // The two prompts weigh two and three tokens; by their bytes, each reply weighs a hundred.
    for (counted, budget, turns) in [("null", 200, 1), ("null", 210, 2), ("40", 90, 2), ("9000", 210, 2)] {
        let count = format!("update messages set reply_tokens = {counted} where status = 'answered'");
        database.query(&count, &[]).await.unwrap();
        database.query(DIE, &[]).await.unwrap();
        let terms = Terms { history_tokens: budget, ..TERMS };
        let Claim::Held(lease) = Claim::attempt(&database, wake_up(owner, room), &terms).await.unwrap() else {
            panic!("there is a message to answer");
        };
        assert_eq!(lease.history.len(), turns, "{counted} tokens in {budget}");
    }
}

#[tokio::test]
async fn whoever_settles_a_message_learns_whether_more_wait_even_of_a_post_that_came_last() {
    let database = testing::database().await;
    let owner = testing::user(&database).await;
    let room = testing::chatroom(&database, owner).await;
    testing::message(&database, owner, room, "first").await;
    let lease = claim(&database, owner, room).await.unwrap();

    // A post that holds the room's row while the settling statement, whose snapshot is older, waits for it.
    let post = database.another_connection();
    for sql in [
        "begin",
        "update chatrooms set last_position = last_position + 1",
        "insert into messages (user_id, id, chatroom_id, position, content)
         select user_id, gen_random_uuid(), id, last_position, 'second' from chatrooms",
    ] {
        post.query(sql, &[]).await.unwrap();
    }
    let meanwhile = async {
        let watcher = database.another_connection();
        while count(&watcher, WAITING).await == 0 {}
        post.query("commit", &[]).await.unwrap();
    };
    let (settled, ()) = tokio::join!(settle(&lease, &database, "reply"), meanwhile);
    assert!(settled.unwrap().more_wait);

    let lease = claim(&database, owner, room).await.unwrap();
    assert!(!fail(&lease, &database, true).await.unwrap().more_wait);
}

#[tokio::test]
async fn a_checkpoint_keeps_the_draft_and_the_lease_until_the_message_is_settled() {
    let database = testing::database().await;
    let owner = testing::user(&database).await;
    let room = testing::chatroom(&database, owner).await;
    testing::message(&database, owner, room, "hello").await;
    let lease = claim(&database, owner, room).await.unwrap();
    let lapse = "update chatrooms set answering_until = now() + interval '1 second'";
    database.query(lapse, &[]).await.unwrap();

    assert_eq!(checkpoint(&lease, &database, "Hel").await, Some(false));
    let kept = "select count(*) from messages join chatrooms on chatroom_id = chatrooms.id
                where draft = 'Hel' and draft_epoch = epoch and answering_until > now() + interval '10 seconds'";
    assert_eq!(count(&database, kept).await, 1);

    settle(&lease, &database, "Hello").await.unwrap();
    assert_eq!(checkpoint(&lease, &database, "Hello").await, None);
    let free = "select count(*) from messages, chatrooms where draft is null and answering_until is null";
    assert_eq!(count(&database, free).await, 1);
}

const STOP: &str = "update messages set stop_requested_at = now()";

/// Ends the lease as if its worker had died.
const DIE: &str = "update chatrooms set answering_until = now()";

#[tokio::test]
async fn a_stop_reaches_the_worker_or_after_its_death_the_next_with_the_draft() {
    let database = testing::database().await;
    let owner = testing::user(&database).await;
    let room = testing::chatroom(&database, owner).await;
    testing::message(&database, owner, room, "hello").await;
    let lease = claim(&database, owner, room).await.unwrap();
    checkpoint(&lease, &database, "Hel").await;
    database.query(STOP, &[]).await.unwrap();
    assert_eq!(checkpoint(&lease, &database, "Hell").await, Some(true));

    database.query(DIE, &[]).await.unwrap();
    let next = claim(&database, owner, room).await.unwrap();
    assert_eq!((next.is_to_stop, next.draft.as_str(), next.lost), (true, "Hell", 1));
    // Deferred, it does not wait.
    let delay = next.defer(&database, Duration::from_mins(1), Trouble::Other, &Written::default()).await.unwrap();
    assert_eq!(delay, Some(Duration::ZERO));
    let again = claim(&database, owner, room).await.unwrap();
    assert_eq!((again.draft.as_str(), again.lost), ("Hell", 1));
}

#[tokio::test]
async fn a_message_without_a_stop_begins_anew_with_every_claim_and_counts_dead_workers_alone() {
    let database = testing::database().await;
    let owner = testing::user(&database).await;
    let room = testing::chatroom(&database, owner).await;
    testing::message(&database, owner, room, "hello").await;
    for lost in 0..3 {
        let lease = claim(&database, owner, room).await.unwrap();
        assert_eq!((lease.is_to_stop, lease.draft.as_str(), lease.lost), (false, "", lost));
        let anew = "select count(*) from messages, chatrooms where draft is null and draft_epoch = epoch";
        assert_eq!(count(&database, anew).await, 1, "the draft is of this claim");
        checkpoint(&lease, &database, "Hel").await;
        database.query(DIE, &[]).await.unwrap();
    }
    for _ in 0..2 {
        let lease = claim(&database, owner, room).await.unwrap();
        assert_eq!((lease.draft.as_str(), lease.lost), ("", 3));
        checkpoint(&lease, &database, "Hel").await;
        lease.defer(&database, Duration::ZERO, Trouble::Other, &Written::default()).await.unwrap();
    }
}

#[tokio::test]
async fn among_ten_thousand_users_a_claim_finds_its_message_by_the_index_of_unsettled_ones() {
    let database = testing::database().await;
    testing::crowd(&database).await;
    let (user, room) = (UserId::new(), ChatroomId::new());
    let plan = testing::plan(&database, CLAIM, &[&user, &room, &20.0, &900.0, &8_000_i64]).await;
    assert!(!plan.contains("Seq Scan") && plan.contains("unsettled_messages"), "{plan}");
}
