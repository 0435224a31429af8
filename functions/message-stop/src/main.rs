//! `POST /chatroom/{id}/message/{message_id}/stop`: ends the reply to a message where it is.
//!
//! A message that waits for its turn, or for another try, fails at once and does not count against the day. One that is
//! being answered is marked: its worker sees that at its next checkpoint, within about a second, and settles it with
//! what there is. If the worker has died, the next one settles it instead of asking again; so the room is woken for the
//! end of the lease. A message at its end stays as it is.

use std::time::Duration;

use lambda_http::{Body, Request, Response};
use shared::{
    Error, Result,
    auth::TokenVerifier,
    config::ConfigError,
    database::Database,
    domain::{ChatroomId, Message, MessageId, UserId},
    http,
    queue::Queue,
};

struct App {
    tokens: TokenVerifier,
    database: Database,
    queue: Queue,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self { tokens: TokenVerifier::from_env()?, database: Database::from_env()?, queue: Queue::from_env()? })
    }
}

/// Fails or marks an unsettled message, and returns it as it is then; a settled one as it is. The update decides by the
/// row as it is when it is locked, so a worker that claims or settles the message meanwhile is either before it or
/// after it.
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
        where user_id = $1 and id = $3 and chatroom_id = $2 and status in ('queued', 'answering')
        returning *
    ), refund as (
        update daily_usage
        set used = used - 1
        from stopped
        where stopped.status = 'failed' and daily_usage.user_id = $1
          and daily_usage.day = (stopped.created_at at time zone 'utc')::date
    ), message as (
        select * from stopped
        union all
        select * from messages
        where user_id = $1 and id = $3 and chatroom_id = $2 and not exists (select from stopped)
    )
    select message.id, message.chatroom_id, message.content, message.status, message.created_at, message.reply,
           message.model, message.finish_reason, message.settled_at, message.failure,
           case when message.status = 'answering' then message.draft end as draft,
           message.settled_at is null and message.stop_requested_at is null as is_outdated,
           case when stopped.status = 'answering'
                then greatest(extract(epoch from room.answering_until - now()), 0)::float8
                when room.last_position > stopped.position then 0 end as wake_after
    from message
    join chatrooms room on room.user_id = $1 and room.id = $2
    left join stopped on true";

async fn stop(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let room: ChatroomId = http::path(&request, "id", "chatroom")?;
    let id: MessageId = http::path(&request, "message_id", "message")?;

    let (message, wake_after) = app.stop(caller.user, room, id).await?;
    if let Some(delay) = wake_after {
        app.queue.wake_after(delay, room, caller.user).await;
    }
    http::ok(&message)
}

impl App {
    /// A message that a worker settled while the statement waited for it is neither stopped nor read as it is then. A
    /// second look sees it.
    async fn stop(&self, user: UserId, room: ChatroomId, id: MessageId) -> Result<(Message, Option<Duration>)> {
        loop {
            let row = self.database.query_opt(STOP, &[&user, &room, &id]).await?;
            let row = row.ok_or(Error::NotFound("message"))?;
            if !row.get::<_, bool>("is_outdated") {
                let message = Message { draft: row.get("draft"), ..Message::from(&row) };
                let seconds: Option<f64> = row.get("wake_after");
                return Ok((message, seconds.map(Duration::from_secs_f64)));
            }
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, stop).await
}

#[cfg(test)]
mod tests {
    //! What a stop does to a message at each of its stages. That its worker sees it is tested over HTTP.

    use shared::{
        auth::Caller,
        domain::Status,
        testing::{self, request},
    };

    use super::*;

    struct Fixture {
        app: App,
        owner: Caller,
        room: ChatroomId,
        message: MessageId,
    }

    impl Fixture {
        async fn new() -> Self {
            let app = App {
                tokens: TokenVerifier::from_env().unwrap(),
                database: testing::database().await,
                queue: Queue::from_env().unwrap(),
            };
            let owner = testing::user(&app.database).await;
            let room = testing::chatroom(&app.database, owner).await;
            let message = testing::message(&app.database, owner, room, "hello").await;
            Self { app, owner, room, message }
        }

        async fn stop(&self) -> (Message, Option<Duration>) {
            let stopped = self.app.stop(self.owner.user, self.room, self.message);
            stopped.await.unwrap()
        }

        async fn execute(&self, sql: &str) {
            self.app.database.query(sql, &[]).await.unwrap();
        }

        async fn used(&self) -> i64 {
            let sql = "select sum(used)::int8 from daily_usage";
            self.app.database.query_one(sql, &[]).await.unwrap().get(0)
        }
    }

    const ANSWERING: &str = "update messages set status = 'answering', draft = 'Hel'";
    const CLAIMED: &str = "update chatrooms set answering_until = now() + interval '9 seconds', epoch = 1";

    #[tokio::test]
    async fn a_message_that_waits_fails_and_its_quota_comes_back_once() {
        let fixture = Fixture::new().await;
        for _ in 0..2 {
            let (message, wake_after) = fixture.stop().await;
            assert_eq!(message.status, Status::Failed);
            assert_eq!(message.failure.unwrap().reason, "STOPPED");
            assert_eq!(wake_after, None);
            assert_eq!(fixture.used().await, 0);
        }
    }

    #[tokio::test]
    async fn the_messages_behind_a_stopped_one_are_woken() {
        let fixture = Fixture::new().await;
        let Fixture { app, owner, room, .. } = &fixture;
        testing::message(&app.database, *owner, *room, "next").await;
        assert_eq!(fixture.stop().await.1, Some(Duration::ZERO));
    }

    #[tokio::test]
    async fn a_message_that_is_answered_is_marked_and_its_room_woken_when_the_lease_ends() {
        let fixture = Fixture::new().await;
        fixture.execute(ANSWERING).await;
        fixture.execute(CLAIMED).await;
        for _ in 0..2 {
            let (message, wake_after) = fixture.stop().await;
            assert_eq!(message.status, Status::Answering);
            assert_eq!(message.draft.as_deref(), Some("Hel"));
            let seconds = wake_after.unwrap().as_secs();
            assert!((7..=9).contains(&seconds), "{seconds}");
            assert_eq!(fixture.used().await, 1);
        }
    }

    #[tokio::test]
    async fn a_message_at_its_end_stays_as_it_is() {
        let fixture = Fixture::new().await;
        let answered = "update messages set status = 'answered', reply = 'Hello', settled_at = now(),
                               finish_reason = 'STOP'";
        fixture.execute(answered).await;
        let (message, wake_after) = fixture.stop().await;
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
        let worker = fixture.app.database.another_connection();
        let settle = "update messages set status = 'failed', failure = 'SAFETY', settled_at = now()";
        for sql in ["begin", settle] {
            worker.query(sql, &[]).await.unwrap();
        }
        let meanwhile = async {
            let watcher = fixture.app.database.another_connection();
            let waiting = async || -> i64 { watcher.query_one(WAITING, &[]).await.unwrap().get(0) };
            while waiting().await == 0 {}
            worker.query("commit", &[]).await.unwrap();
        };
        let ((message, _), ()) = tokio::join!(fixture.stop(), meanwhile);
        assert_eq!(message.failure.unwrap().reason, "SAFETY");
    }

    #[tokio::test]
    async fn a_message_of_another_user_or_room_is_not_found_and_goes_on() {
        let fixture = Fixture::new().await;
        let Fixture { app, owner, room, message } = &fixture;
        let stranger = testing::user(&app.database).await;
        let their_room = testing::chatroom(&app.database, stranger).await;
        let other_room = testing::chatroom(&app.database, *owner).await;
        for (caller, room) in [(stranger, *room), (stranger, their_room), (*owner, other_room)] {
            let path = [("id", room.to_string()), ("message_id", message.to_string())];
            let response = stop(app, request(caller, &path, &().into())).await;
            assert!(matches!(response, Err(Error::NotFound("message"))));
            let goes_on = "select count(*) from messages where status = 'queued' and stop_requested_at is null";
            let going_on: i64 = app.database.query_one(goes_on, &[]).await.unwrap().get(0);
            assert_eq!(going_on, 1);
        }
    }
}
