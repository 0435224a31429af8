//! Wakes, every minute, the rooms whose wake-up was lost, forgets what has expired, and removes what was deleted.
//!
//! This is what makes the queue a mere wake-up: whatever happens to it, or to a worker, Postgres still knows the work.
//!
//! A room is not woken again and again while its wake-up waits behind others: see [`messages::forgotten`].
//!
//! Several statements, because the rooms that were woken are known only afterwards, and because the rest can wait: it
//! must neither delay the wake-ups nor stop them when it fails.

mod removals;

use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent};
use serde_json::{Value, json};
use shared::{
    config::{self, ConfigError},
    database::{self, Database},
    messages,
    queue::Queue,
};
use tracing::{info, warn};

/// How long wake-ups are sent. What is left is for the next minute.
const WAKING: Duration = Duration::from_secs(10);

/// How long messages of deleted rooms and accounts are removed. Those that are left are for the next minute.
const REMOVING: Duration = Duration::from_secs(10);

struct App {
    database: Database,
    queue: Queue,
    /// For how long work must have been waiting.
    waiting: Duration,
    /// How long a room is left alone after it was woken.
    again: Duration,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            database: Database::from_env()?,
            queue: Queue::from_env()?,
            waiting: seconds("SWEEP_AFTER_SECONDS", 30.0)?,
            again: seconds("SWEEP_AGAIN_SECONDS", 600.0)?,
        })
    }
}

/// Reads a variable that holds a number of seconds.
fn seconds(name: &'static str, default: f64) -> Result<Duration, ConfigError> {
    let seconds = config::or_default(name, default)?;
    Duration::try_from_secs_f64(seconds).map_err(|problem| ConfigError::malformed(name, problem))
}

/// Idempotency keys are kept for a day, the use of deleted accounts until midnight, refresh tokens until they expire,
/// and sessions as long as they have tokens. Only sessions that lose a token here are looked at: every session began
/// with one.
const FORGET: &str = "
    with keys as (
        update messages set idempotency_key = null
        where idempotency_key is not null and created_at < now() - interval '24 hours'
    ), departed as (
        delete from departed_usage where day < (now() at time zone 'utc')::date
    ), tokens as (
        delete from refresh_tokens where expires_at < now() returning user_id, session_id
    )
    delete from sessions
    using tokens
    where sessions.user_id = tokens.user_id and sessions.id = tokens.session_id
      and not exists (
          select from refresh_tokens left_over
          where left_over.user_id = sessions.user_id and left_over.session_id = sessions.id
            and left_over.expires_at >= now()
      )";

/// Counts the users whose messages failed lately through no fault that we know to be theirs. One user may have a way to
/// make messages fail, so the alarm counts users.
const FAILING: &str = "
    select count(distinct user_id) as users
    from messages
    where failure in ('REJECTED', 'MODEL_UNAVAILABLE', 'MODEL_QUOTA', 'GIVEN_UP')
      and settled_at > now() - interval '5 minutes'";

async fn sweep(app: &App) -> Result<Value, Error> {
    let forgotten = messages::forgotten(&app.database, app.waiting, app.again).await?;
    info!(rooms = forgotten.len(), "waking forgotten rooms");
    let woken = app.queue.wake_all(&forgotten, WAKING).await;
    if !woken.is_empty() {
        messages::woken(&app.database, &woken).await?;
    }
    app.report_failing().await?;
    app.database.query(FORGET, &[]).await?;
    let removed = removals::remove(&app.database, REMOVING).await?;
    Ok(json!({ "woken": woken.len(), "removed": removed }))
}

impl App {
    /// Logs how many users' messages fail, which an alarm watches.
    async fn report_failing(&self) -> Result<i64, database::Error> {
        let users: i64 = self.database.query_one(FAILING, &[]).await?.get("users");
        if users > 0 {
            warn!(metric = "failing_users", users, "messages failed within five minutes");
        }
        Ok(users)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shared::run(App::from_env, |app, _: LambdaEvent<Value>| sweep(app)).await
}

#[cfg(test)]
mod tests {
    //! Which rooms count as forgotten, and what is forgotten on purpose.

    use shared::{domain::ChatroomId, testing};

    use super::*;

    async fn app() -> App {
        App {
            database: testing::database().await,
            queue: Queue::from_env().unwrap(),
            waiting: Duration::from_secs(30),
            again: Duration::from_mins(10),
        }
    }

    /// A room with a message that was posted `age` ago, in the state that `change` leaves it.
    async fn room(app: &App, age: &str, change: &str) -> ChatroomId {
        let owner = testing::user(&app.database).await;
        let room = testing::chatroom(&app.database, owner).await;
        testing::message(&app.database, owner, room, "hello").await;
        let sql = "update messages set created_at = now() - $2::text::interval, not_before = now() - $2::text::interval
                   where chatroom_id = $1";
        app.database.query(sql, &[&room, &age]).await.unwrap();
        if !change.is_empty() {
            app.database.query(change, &[&room]).await.unwrap();
        }
        room
    }

    async fn forgotten(app: &App) -> Vec<ChatroomId> {
        let rooms = messages::forgotten(&app.database, app.waiting, app.again).await.unwrap();
        rooms.iter().map(|room| room.chatroom_id).collect()
    }

    #[tokio::test]
    async fn rooms_whose_work_nobody_does_are_woken_longest_waiting_first() {
        let app = app().await;
        let lost = room(&app, "1 minute", "").await;
        let died = "with dead as (update chatrooms set answering_until = now() - interval '1 second' where id = $1)
                    update messages set status = 'answering' where chatroom_id = $1";
        let abandoned = room(&app, "2 minutes", died).await;
        assert_eq!(forgotten(&app).await, [abandoned, lost]);
        assert_eq!(sweep(&app).await.unwrap(), json!({ "woken": 2, "removed": 0 }));
    }

    /// Four hundred rooms whose wake-ups wait in a long queue, at every minute's sweep.
    #[tokio::test]
    async fn a_room_that_waits_behind_others_is_woken_once_in_ten_minutes() {
        let app = app().await;
        for _ in 0..400 {
            room(&app, "1 minute", "").await;
        }
        assert_eq!(sweep(&app).await.unwrap(), json!({ "woken": 400, "removed": 0 }));
        for _ in 0..3 {
            assert_eq!(sweep(&app).await.unwrap(), json!({ "woken": 0, "removed": 0 }));
        }
        let later = "update chatrooms set woken_at = woken_at - interval '10 minutes'";
        app.database.query(later, &[]).await.unwrap();
        assert_eq!(sweep(&app).await.unwrap(), json!({ "woken": 400, "removed": 0 }));
    }

    #[tokio::test]
    async fn a_room_is_woken_again_for_work_that_came_since_and_after_a_worker_that_died_since() {
        let app = app().await;
        let woken = "update chatrooms set woken_at = now() - interval '2 minutes'";
        let waiting = room(&app, "1 hour", "").await;
        let posted = room(&app, "1 minute", "").await;
        let deferred = "update messages set not_before = now() - interval '40 seconds' where chatroom_id = $1";
        let deferred = room(&app, "1 hour", deferred).await;
        let died = "update chatrooms set answering_until = now() - interval '1 minute' where id = $1";
        let died = room(&app, "1 hour", died).await;
        app.database.query(woken, &[]).await.unwrap();
        let again = forgotten(&app).await;
        assert!(!again.contains(&waiting));
        for room in [posted, deferred, died] {
            assert!(again.contains(&room));
        }
    }

    #[tokio::test]
    async fn rooms_that_are_new_held_deferred_or_settled_are_left_alone() {
        let app = app().await;
        room(&app, "1 second", "").await;
        room(&app, "1 hour", "update chatrooms set answering_until = now() + interval '9 seconds' where id = $1").await;
        room(&app, "1 hour", "update messages set not_before = now() + interval '9 seconds' where chatroom_id = $1")
            .await;
        let settled = "update messages set status = 'failed', failure = 'SAFETY', settled_at = now()
                       where chatroom_id = $1";
        room(&app, "1 hour", settled).await;
        assert_eq!(forgotten(&app).await, []);
    }

    #[tokio::test]
    async fn keys_are_forgotten_after_a_day_and_expired_sessions_with_their_tokens() {
        let app = app().await;
        let key = "update messages set idempotency_key = 'key' where chatroom_id = $1";
        room(&app, "23 hours", key).await;
        room(&app, "25 hours", key).await;
        let tokens = "
            insert into refresh_tokens (user_id, hash, session_id, expires_at)
            select user_id, uuid_send(id), id, now() + (row_number() over () - 2) * interval '1 minute' from sessions";
        app.database.query(tokens, &[]).await.unwrap();

        sweep(&app).await.unwrap();

        let left = "select (select count(*) from messages where idempotency_key is not null),
                           (select count(*) from sessions), (select count(*) from refresh_tokens)";
        // Of the two sessions' tokens, one expired a minute ago and one expires just now.
        let row = app.database.query_one(left, &[]).await.unwrap();
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i64>(2)), (1, 0, 0));
    }

    #[tokio::test]
    async fn many_failures_of_one_user_count_once_and_each_user_once() {
        let app = app().await;
        let fail = "update messages set status = 'failed', failure = 'REJECTED', settled_at = now()
                    where chatroom_id = $1";
        let owner = testing::user(&app.database).await;
        for _ in 0..20 {
            let room = testing::chatroom(&app.database, owner).await;
            testing::message(&app.database, owner, room, "refused").await;
            app.database.query(fail, &[&room]).await.unwrap();
        }
        assert_eq!(app.report_failing().await.unwrap(), 1);

        room(&app, "1 minute", fail).await;
        room(&app, "1 minute", &fail.replace("REJECTED", "GIVEN_UP")).await;
        for their_own in ["SAFETY", "STOPPED"] {
            room(&app, "1 minute", &fail.replace("REJECTED", their_own)).await;
        }
        room(&app, "1 hour", &fail.replace("now()", "now() - interval '6 minutes'")).await;
        assert_eq!(app.report_failing().await.unwrap(), 3);
    }

    #[tokio::test]
    async fn no_table_is_read_from_end_to_end() {
        let app = app().await;
        testing::crowd(&app.database).await;
        for sql in [FAILING, FORGET] {
            let plan = testing::plan(&app.database, sql, &[]).await;
            assert!(!plan.contains("Seq Scan"), "{plan}");
        }
    }
}
