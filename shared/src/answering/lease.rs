//! The statements of a worker that holds a room. Each is fenced by the epoch of its claim.

use std::time::Duration;

use tokio::time::Instant;

use super::{Result, Settings};
use crate::{
    database::Database,
    domain::{ChatroomId, MessageId, UserId},
    gemini::{Answer, Turn},
    queue::WakeUp,
};

/// Takes the lease of a free room whose oldest unsettled message is due, and returns that message with its history:
/// whole turns, newest first until the budget is spent.
///
/// A claim that waited for the room's row goes on with the snapshot it began with, in which its message may look
/// unsettled although it no longer is. The update of the message therefore repeats its conditions, which Postgres
/// checks against the row as it is now; if they fail, there is a lease but no message.
///
/// An estimated token is four bytes of UTF-8.
const CLAIM: &str = "
    -- $1 user, $2 room, $3 seconds of the lease, $4 seconds until the deadline, $5 estimated tokens of history
    with room as (
        update chatrooms
        set answering_until = now() + make_interval(secs => $3), epoch = epoch + 1
        where user_id = $1 and id = $2
          and (answering_until is null or answering_until <= now())
          and (select not_before is null or not_before <= now()
               from messages
               where user_id = $1 and chatroom_id = $2 and status in ('queued', 'answering')
               order by position limit 1)
        returning epoch
    ), oldest as (
        select messages.id
        from messages, room
        where messages.user_id = $1 and messages.chatroom_id = $2 and messages.status in ('queued', 'answering')
        order by messages.position limit 1
    ), message as (
        update messages
        set status = 'answering', asked = asked + 1
        from oldest
        where messages.user_id = $1 and messages.id = oldest.id
          and messages.status in ('queued', 'answering')
          and (messages.not_before is null or messages.not_before <= now())
        returning messages.id, messages.position, messages.content, messages.asked, messages.created_at
    ), recent as (
        select messages.position, messages.content, messages.reply
        from messages join message on messages.position < message.position
        where messages.user_id = $1 and messages.chatroom_id = $2 and messages.status = 'answered'
        order by messages.position desc limit 500
    ), weighed as (
        select *, sum((octet_length(content) + octet_length(reply)) / 4 + 1) over (order by position desc) as tokens
        from recent
    )
    select room.epoch, message.id, message.content, message.asked,
           extract(epoch from message.created_at + make_interval(secs => $4) - now())::float8 as seconds_left,
           array(select content from weighed where tokens <= $5 order by position) as prompts,
           array(select reply from weighed where tokens <= $5 order by position) as replies
    from room left join message on true";

/// Gives a lease back.
const RELEASE: &str = "
    -- $1 user, $2 room, $3 epoch
    update chatrooms set answering_until = null where user_id = $1 and id = $2 and epoch = $3";

const RENEW: &str = "
    -- $1 user, $2 room, $3 epoch, $4 seconds of the lease
    update chatrooms set answering_until = now() + make_interval(secs => $4)
    where user_id = $1 and id = $2 and epoch = $3
    returning id";

/// The first update is the fence: it locks the room's row, so no other claim can come between it and the message.
const SETTLE_ANSWERED: &str = "
    -- $1 user, $2 room, $3 epoch, $4 message, $5 reply, $6 finish reason, $7 model,
    -- $8 tokens of the prompt, $9 of the reply
    with room as (
        update chatrooms set answering_until = null where user_id = $1 and id = $2 and epoch = $3 returning id
    )
    update messages
    set status = 'answered', settled_at = now(), reply = $5, finish_reason = $6, model = $7,
        prompt_tokens = $8, reply_tokens = $9
    from room
    where messages.user_id = $1 and messages.id = $4 and messages.status = 'answering'";

/// A failed message does not count against the day it was accepted on.
const SETTLE_FAILED: &str = "
    -- $1 user, $2 room, $3 epoch, $4 message, $5 reason
    with room as (
        update chatrooms set answering_until = null where user_id = $1 and id = $2 and epoch = $3 returning id
    ), message as (
        update messages
        set status = 'failed', settled_at = now(), failure = $5
        from room
        where messages.user_id = $1 and messages.id = $4 and messages.status = 'answering'
        returning messages.created_at
    )
    update daily_usage
    set used = used - 1
    from message
    where daily_usage.user_id = $1
      and daily_usage.day = (message.created_at at time zone 'utc')::date";

const DEFER: &str = "
    -- $1 user, $2 room, $3 epoch, $4 message, $5 seconds of the delay
    with room as (
        update chatrooms set answering_until = null where user_id = $1 and id = $2 and epoch = $3 returning id
    )
    update messages
    set status = 'queued', not_before = now() + make_interval(secs => $5)
    from room
    where messages.user_id = $1 and messages.id = $4 and messages.status = 'answering'";

/// What came of claiming a room.
pub(super) enum Claim {
    /// There is nothing due, or somebody else is at it.
    Nothing,
    /// The room was free, but what was due is done. The lease was given back.
    Outdated,
    /// The room is ours.
    Held(Lease),
}

/// A claimed room with the message to answer.
pub(super) struct Lease {
    pub chatroom: ChatroomId,
    pub user: UserId,
    epoch: i64,
    pub message: MessageId,
    pub prompt: String,
    /// The turns before the prompt, oldest first.
    pub history: Vec<Turn>,
    /// How often the model was asked, this time included.
    pub asked: i32,
    /// When it is no longer tried again.
    pub deadline: Instant,
}

impl Claim {
    pub async fn attempt(
        database: &Database,
        WakeUp {
            user_id: user,
            chatroom_id: chatroom,
        }: WakeUp,
        settings: &Settings,
    ) -> Result<Self> {
        let claimed = database
            .query_opt(
                CLAIM,
                &[
                    &user,
                    &chatroom,
                    &settings.lease.as_secs_f64(),
                    &settings.deadline.as_secs_f64(),
                    &settings.history_tokens,
                ],
            )
            .await?;
        let Some(row) = claimed else {
            return Ok(Self::Nothing);
        };
        let epoch: i64 = row.get("epoch");
        let Some(message) = row.get::<_, Option<MessageId>>("id") else {
            database.query(RELEASE, &[&user, &chatroom, &epoch]).await?;
            return Ok(Self::Outdated);
        };
        let seconds_left: f64 = row.get("seconds_left");
        let prompts: Vec<String> = row.get("prompts");
        let replies: Vec<String> = row.get("replies");
        let turns = prompts.into_iter().zip(replies);
        Ok(Self::Held(Lease {
            chatroom,
            user,
            epoch,
            message,
            prompt: row.get("content"),
            history: turns
                .map(|(prompt, reply)| Turn { prompt, reply })
                .collect(),
            asked: row.get("asked"),
            deadline: Instant::now() + Duration::from_secs_f64(seconds_left.max(0.0)),
        }))
    }
}

impl Lease {
    /// Prolongs the lease from now on, and says whether it is still ours.
    pub async fn renew(&self, database: &Database, lease: Duration) -> Result<bool> {
        let seconds = lease.as_secs_f64();
        Ok(database
            .query_opt(RENEW, &[&self.user, &self.chatroom, &self.epoch, &seconds])
            .await?
            .is_some())
    }

    /// Stores the answer, if the room is still ours, and gives the lease back.
    pub async fn settle_answered(&self, database: &Database, answer: &Answer) -> Result<()> {
        database
            .query(
                SETTLE_ANSWERED,
                &[
                    &self.user,
                    &self.chatroom,
                    &self.epoch,
                    &self.message,
                    &answer.text,
                    &answer.finish_reason,
                    &answer.model,
                    &answer.prompt_tokens,
                    &answer.reply_tokens,
                ],
            )
            .await
            .map(drop)
    }

    /// Stores why there is no answer and returns the quota, if the room is still ours, and gives the lease back.
    pub async fn settle_failed(&self, database: &Database, reason: &str) -> Result<()> {
        database
            .query(
                SETTLE_FAILED,
                &[
                    &self.user,
                    &self.chatroom,
                    &self.epoch,
                    &self.message,
                    &reason,
                ],
            )
            .await
            .map(drop)
    }

    /// Puts the message back for after `delay`, if the room is still ours, and gives the lease back.
    pub async fn defer(&self, database: &Database, delay: Duration) -> Result<()> {
        let seconds = delay.as_secs_f64();
        database
            .query(
                DEFER,
                &[
                    &self.user,
                    &self.chatroom,
                    &self.epoch,
                    &self.message,
                    &seconds,
                ],
            )
            .await
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    //! The protocol under races: many workers, each with a connection of its own, on one room.

    use futures_util::future::join_all;

    use super::*;
    use crate::{auth::Caller, testing};

    const SETTINGS: Settings = Settings {
        lease: Duration::from_secs(20),
        deadline: Duration::from_mins(15),
        history_tokens: 1_000_000,
    };

    fn wake_up(owner: Caller, room: ChatroomId) -> WakeUp {
        WakeUp {
            user_id: owner.user,
            chatroom_id: room,
        }
    }

    async fn claim(database: &Database, owner: Caller, room: ChatroomId) -> Option<Lease> {
        match Claim::attempt(database, wake_up(owner, room), &SETTINGS)
            .await
            .unwrap()
        {
            Claim::Held(lease) => Some(lease),
            Claim::Nothing | Claim::Outdated => None,
        }
    }

    fn answer(text: &str) -> Answer {
        Answer {
            text: text.into(),
            finish_reason: "STOP".into(),
            ..Answer::default()
        }
    }

    async fn count(database: &Database, sql: &str) -> i64 {
        database.query_one(sql, &[]).await.unwrap().get(0)
    }

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
                let prompts: Vec<_> = lease
                    .history
                    .iter()
                    .map(|turn| turn.prompt.clone())
                    .collect();
                let expected: Vec<_> = (0..lease.history.len())
                    .map(|number| number.to_string())
                    .collect();
                assert_eq!(prompts, expected, "the history is complete and in order");
                assert_eq!(
                    lease.prompt,
                    lease.history.len().to_string(),
                    "it is the oldest one's turn"
                );
                lease
                    .settle_answered(&database, &answer(&lease.prompt))
                    .await
                    .unwrap();
                settled.push(lease.message);
            }
            settled
        };
        let settled = join_all((0..16).map(|_| work())).await.concat();

        assert_eq!(settled.len(), MESSAGES, "no message was held twice");
        assert_eq!(
            count(
                &database,
                "select count(*) from messages where reply = content"
            )
            .await,
            60
        );
        assert_eq!(
            count(&database, "select max(asked)::int8 from messages").await,
            1
        );
    }

    #[tokio::test]
    async fn a_claim_that_waited_for_its_room_sees_what_became_of_the_message_meanwhile() {
        const WAITING: &str = "select count(*) from pg_stat_activity
                               where datname = current_database() and wait_event_type = 'Lock'";
        for change in [
            "status = 'failed', failure = 'SAFETY', settled_at = now()",
            "not_before = now() + interval '1 minute'",
        ] {
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
            let claim = Claim::attempt(&database, wake_up(owner, room), &SETTINGS);
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

        assert!(!stalled.renew(&database, SETTINGS.lease).await.unwrap());
        stalled
            .settle_answered(&database, &answer("late"))
            .await
            .unwrap();
        stalled.settle_failed(&database, "LATE").await.unwrap();
        stalled
            .defer(&database, Duration::from_mins(1))
            .await
            .unwrap();
        assert_eq!(
            count(
                &database,
                "select count(*) from messages where status = 'answering'"
            )
            .await,
            1
        );
        assert_eq!(
            count(&database, "select sum(used)::int8 from daily_usage").await,
            1
        );

        assert!(current.renew(&database, SETTINGS.lease).await.unwrap());
        current
            .settle_answered(&database, &answer("in time"))
            .await
            .unwrap();
        assert_eq!(
            count(
                &database,
                "select count(*) from messages where reply = 'in time'"
            )
            .await,
            1
        );
    }

    #[tokio::test]
    async fn a_failed_message_gives_its_quota_back_once() {
        let database = testing::database().await;
        let owner = testing::user(&database).await;
        let room = testing::chatroom(&database, owner).await;
        testing::message(&database, owner, room, "hello").await;
        let lease = claim(&database, owner, room).await.unwrap();
        for _ in 0..2 {
            lease.settle_failed(&database, "SAFETY").await.unwrap();
        }
        assert_eq!(
            count(&database, "select sum(used)::int8 from daily_usage").await,
            0
        );
        assert_eq!(
            count(
                &database,
                "select count(*) from messages where failure = 'SAFETY'"
            )
            .await,
            1
        );
    }

    #[tokio::test]
    async fn a_deferred_message_holds_back_the_later_ones() {
        let database = testing::database().await;
        let owner = testing::user(&database).await;
        let room = testing::chatroom(&database, owner).await;
        let first = testing::message(&database, owner, room, "first").await;
        testing::message(&database, owner, room, "second").await;
        let lease = claim(&database, owner, room).await.unwrap();
        lease
            .defer(&database, Duration::from_mins(1))
            .await
            .unwrap();
        assert!(claim(&database, owner, room).await.is_none());

        database
            .query(
                "update messages set not_before = now() where not_before is not null",
                &[],
            )
            .await
            .unwrap();
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
            lease
                .settle_answered(&database, &answer("reply"))
                .await
                .unwrap();
        }
        // The short turn is three estimated tokens, the long one more than a hundred.
        let settings = Settings {
            history_tokens: 50,
            ..SETTINGS
        };
        let Claim::Held(lease) = Claim::attempt(&database, wake_up(owner, room), &settings)
            .await
            .unwrap()
        else {
            panic!("there is a message to answer");
        };
        let turn = Turn {
            prompt: "short".into(),
            reply: "reply".into(),
        };
        assert_eq!(lease.history, [turn]);
    }
}
