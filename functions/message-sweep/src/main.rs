//! Every minute: wakes the rooms whose wake-up was lost, and forgets what has expired.
//!
//! This is what makes the queue a mere wake-up: whatever happens to it, or to a worker, Postgres still knows the work.

use futures_util::{StreamExt, stream};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};
use shared::{
    config::{self, ConfigError},
    database::{Database, Type},
    queue::Queue,
    telemetry,
};
use tracing::info;

/// How many wake-ups are sent at a time.
const CONCURRENCY: usize = 20;

struct App {
    database: Database,
    queue: Queue,
    /// For how long work must have been waiting.
    after_seconds: f64,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            database: Database::from_env()?,
            queue: Queue::from_env()?,
            after_seconds: config::or_default("SWEEP_AFTER_SECONDS", 30.0)?,
        })
    }
}

/// Rooms in which the oldest unsettled message has been due for long while nobody held the room, longest first.
const FORGOTTEN: &str = "
    select room.id, room.user_id
    from (
        select distinct on (chatroom_id) chatroom_id, coalesce(not_before, created_at) as due
        from messages
        where status in ('queued', 'answering')
        order by chatroom_id, position
    ) oldest
    join chatrooms room on room.id = oldest.chatroom_id
    where oldest.due < now() - make_interval(secs => $1)
      and (room.answering_until is null or room.answering_until < now())
    order by oldest.due
    limit 10000";

/// Idempotency keys are kept for a day, refresh tokens until they expire, and sessions as long as they have tokens.
const FORGET: &str = "
    with keys as (
        update messages set idempotency_key = null
        where idempotency_key is not null and created_at < now() - interval '24 hours'
    ), tokens as (
        delete from refresh_tokens where expires_at < now()
    )
    delete from sessions
    where not exists (
        select from refresh_tokens where session_id = sessions.id and expires_at >= now()
    )";

async fn sweep(app: &App) -> Result<Value, Error> {
    let rooms = app
        .database
        .query(FORGOTTEN, &[(&app.after_seconds, Type::FLOAT8)])
        .await?;
    info!(rooms = rooms.len(), "waking forgotten rooms");
    stream::iter(&rooms)
        .for_each_concurrent(CONCURRENCY, |row| {
            app.queue.wake(row.get("id"), row.get("user_id"))
        })
        .await;
    app.database.query(FORGET, &[]).await?;
    Ok(json!({ "woken": rooms.len() }))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let app = &App::from_env()?;
    let handler = service_fn(async |_: LambdaEvent<Value>| sweep(app).await);
    lambda_runtime::run(handler).await
}
