//! Ends a message where it is, because its owner asks for it.

use std::time::Duration;

use super::Result;
use crate::{
    database::Database,
    domain::{ChatroomId, Message, MessageId, UserId},
};

/// Fails a message that waits, marks one that is being answered, and returns the message as it is then. The update
/// decides by the row as it is when it is locked, so a worker that claims or settles the message meanwhile comes
/// either before it or after it.
///
/// A message that was never asked about costs nothing: it gives its quota back. What was asked has been paid for.
///
/// A room is to be woken for the later messages that a stopped one held back, or for the end of the lease.
const STOP: &str = "
    -- $1 user, $2 room, $3 message
    with stopped as (
        update messages
        set stop_requested_at = coalesce(stop_requested_at, now()),
            status = case status when 'queued' then 'failed' else status end,
            failure = case status when 'queued' then 'STOPPED' end,
            settled_at = case status when 'queued' then now() end
        where user_id = $1 and id = $3 and chatroom_id = $2 and unsettled
          and exists (select from chatrooms where user_id = $1 and id = $2)
        returning *
    ), unused as (
        update daily_usage
        set used = used - 1
        from stopped
        where stopped.status = 'failed' and stopped.asked = 0
          and daily_usage.user_id = $1 and daily_usage.day = stopped.day
    ), message as (
        select * from stopped
        union all
        select * from messages
        where user_id = $1 and id = $3 and chatroom_id = $2 and not exists (select from stopped)
    )
    select message.*, message.unsettled and message.stop_requested_at is null as is_outdated,
           case when stopped.status = 'answering'
                then greatest(extract(epoch from room.answering_until - now()), 0)::float8
                when room.last_position > stopped.position then 0 end as wake_after
    from message
    join chatrooms room on room.user_id = $1 and room.id = $2
    left join stopped on true";

/// A message that was to stop.
pub struct Stopped {
    /// The message as it is now.
    pub message: Message,
    /// When the room has to be woken, for this message or a later one. Nothing, when nothing waits.
    pub wake_after: Option<Duration>,
}

/// Stops a message of a room, unless it is settled. Returns nothing when the user has no such message there.
///
/// When a worker settles the message while the statement waits for its row, the statement stops nothing and reads the
/// message as it was before. It is sent again, and reads it settled.
///
/// # Errors
/// When Postgres fails.
pub async fn stop(database: &Database, user: UserId, room: ChatroomId, id: MessageId) -> Result<Option<Stopped>> {
    loop {
        let Some(row) = database.query_opt(STOP, &[&user, &room, &id]).await? else {
            return Ok(None);
        };
        if !row.get::<_, bool>("is_outdated") {
            let seconds: Option<f64> = row.get("wake_after");
            return Ok(Some(Stopped {
                message: Message::from(&row),
                wake_after: seconds.map(Duration::from_secs_f64),
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    //! Tests what a stop does to a message at each of its stages. That its worker sees it is tested over HTTP.

    use super::*;
    use crate::{auth::Caller, domain::Status, testing};

    struct Fixture {
        database: Database,
        owner: Caller,
        room: ChatroomId,
        message: MessageId,
    }

    impl Fixture {
        async fn new() -> Self {
            let database = testing::database().await;
            let owner = testing::user(&database).await;
            let room = testing::chatroom(&database, owner).await;
            let message = testing::message(&database, owner, room, "hello").await;
            Self { database, owner, room, message }
        }

        async fn stop(&self) -> Stopped {
            let stopped = stop(&self.database, self.owner.user, self.room, self.message);
            stopped.await.unwrap().unwrap()
        }

        async fn execute(&self, sql: &str) {
            self.database.query(sql, &[]).await.unwrap();
        }

        async fn used(&self) -> i64 {
            let sql = "select sum(used)::int8 from daily_usage";
            self.database.query_one(sql, &[]).await.unwrap().get(0)
        }
    }

    const ANSWERING: &str = "update messages set status = 'answering', draft = 'Hel'";
    const CLAIMED: &str = "update chatrooms set answering_until = now() + interval '9 seconds', epoch = 1";

    #[tokio::test]
    async fn a_message_that_waits_fails_and_its_quota_comes_back_once() {
        let fixture = Fixture::new().await;
        for _ in 0..2 {
            let Stopped { message, wake_after } = fixture.stop().await;
            assert_eq!(message.status, Status::Failed);
            assert_eq!(message.failure.unwrap().reason, "STOPPED");
            assert_eq!(wake_after, None);
            assert_eq!(fixture.used().await, 0);
        }
    }

    #[tokio::test]
    async fn a_message_that_was_asked_about_counts_though_it_waits_for_another_try() {
        let fixture = Fixture::new().await;
        fixture.execute("update messages set asked = 1").await;
        assert_eq!(fixture.stop().await.message.status, Status::Failed);
        assert_eq!(fixture.used().await, 1);
    }

    #[tokio::test]
    async fn the_messages_behind_a_stopped_one_are_woken() {
        let fixture = Fixture::new().await;
        let Fixture { database, owner, room, .. } = &fixture;
        testing::message(database, *owner, *room, "next").await;
        assert_eq!(fixture.stop().await.wake_after, Some(Duration::ZERO));
    }

    #[tokio::test]
    async fn a_message_that_is_answered_is_marked_and_its_room_woken_when_the_lease_ends() {
        let fixture = Fixture::new().await;
        fixture.execute(ANSWERING).await;
        fixture.execute(CLAIMED).await;
        for _ in 0..2 {
            let Stopped { message, wake_after } = fixture.stop().await;
            assert_eq!(message.status, Status::Answering);
            assert_eq!(message.draft.as_deref(), Some("Hel"));
            let seconds = wake_after.unwrap().as_secs();
            assert!((7..=9).contains(&seconds), "{seconds}");
            assert_eq!(fixture.used().await, 1);
        }
    }

    #[tokio::test]
    async fn a_message_whose_room_was_deleted_is_gone_and_gives_nothing_back() {
        let fixture = Fixture::new().await;
        fixture.execute("delete from chatrooms").await;
        let stopped = stop(&fixture.database, fixture.owner.user, fixture.room, fixture.message).await;
        assert!(stopped.unwrap().is_none());
        assert_eq!(fixture.used().await, 1);
    }

    #[tokio::test]
    async fn a_message_at_its_end_stays_as_it_is() {
        let fixture = Fixture::new().await;
        let answered = "update messages set status = 'answered', reply = 'Hello', settled_at = now(),
                               finish_reason = 'STOP'";
        fixture.execute(answered).await;
        let Stopped { message, wake_after } = fixture.stop().await;
        assert_eq!(message.status, Status::Answered);
        assert_eq!(message.reply.unwrap().content, "Hello");
        assert_eq!((fixture.used().await, wake_after), (1, None));
    }

    #[tokio::test]
    async fn a_message_that_is_settled_while_a_stop_waits_is_returned_settled() {
        const WAITING: &str = "select count(*) from pg_stat_activity
                               where datname = current_database() and wait_event_type = 'Lock'";
        let fixture = Fixture::new().await;
        fixture.execute(ANSWERING).await;
        let worker = fixture.database.another_connection();
        let settle = "update messages set status = 'failed', failure = 'SAFETY', settled_at = now()";
        for sql in ["begin", settle] {
            worker.query(sql, &[]).await.unwrap();
        }
        let meanwhile = async {
            let watcher = fixture.database.another_connection();
            let waiting = async || -> i64 { watcher.query_one(WAITING, &[]).await.unwrap().get(0) };
            while waiting().await == 0 {}
            worker.query("commit", &[]).await.unwrap();
        };
        let (stopped, ()) = tokio::join!(fixture.stop(), meanwhile);
        assert_eq!(stopped.message.failure.unwrap().reason, "SAFETY");
    }
}
