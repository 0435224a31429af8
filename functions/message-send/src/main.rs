//! `POST /chatroom/{id}/message`: accepts a message and wakes the room's worker.
//!
//! The 202 is a promise: message, quota and idempotency key are stored by one statement before it is given. The
//! wake-up may fail; the sweep finds the room.

use std::time::Duration;

use garde::Validate;
use lambda_http::{Body, Request, Response};
use serde::{Deserialize, Serialize};
use shared::{
    Error, Result,
    auth::TokenVerifier,
    config::{ConfigError, DailyLimits},
    database::{self, Database, Type},
    domain::{ChatroomId, MessageId, Status, UserId, storable},
    error::OverLimit,
    http,
    queue::Queue,
};
use time::OffsetDateTime;

/// How soon it is worth looking for the reply.
const RETRY_AFTER: Duration = Duration::from_secs(1);

struct App {
    tokens: TokenVerifier,
    database: Database,
    queue: Queue,
    limits: DailyLimits,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            tokens: TokenVerifier::from_env()?,
            database: Database::from_env()?,
            queue: Queue::from_env()?,
            limits: DailyLimits::from_env()?,
        })
    }
}

#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct Draft {
    #[garde(length(chars, min = 1, max = 16_000), custom(storable))]
    content: String,
}

/// A message as it was accepted. An accepted one is shown the same however often it is posted.
#[derive(Serialize)]
struct Message {
    id: MessageId,
    chatroom_id: ChatroomId,
    content: String,
    status: Status,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

enum Outcome {
    /// Stored now, or before under the same key.
    Accepted(Message),
    OverLimit(OverLimit),
    NoSuchRoom,
}

/// Accepts at most one message for each idempotency key, and none past the day's limit, under any concurrency: the
/// counter's `on conflict … where used < daily` locks its row, and the message is inserted only from it. A twin with
/// the same key that commits meanwhile breaks the unique index, and nothing of this statement stays.
///
/// Locking the room first keeps a room that is deleted meanwhile from costing quota. `prior` also finds the message by its own id, in case this very statement is sent twice.
const ACCEPT: &str = "
    with room as (
        select id from chatrooms where id = $1 and user_id = $2 for no key update
    ), prior as (
        select id, chatroom_id, content, created_at from messages where id = $3
        union
        select id, chatroom_id, content, created_at from messages where user_id = $2 and idempotency_key = $4
    ), allowance as (
        select case plan when 'pro' then $7 else $6 end as daily from plans where user_id = $2
    ), quota as (
        insert into daily_usage as usage (user_id, day, used)
        select $2, (now() at time zone 'utc')::date, 1
        from room, allowance
        where daily > 0 and not exists (select from prior)
        on conflict (user_id, day) do update set used = usage.used + 1
        where usage.used < (select daily from allowance)
        returning used
    ), place as (
        update chatrooms
        set last_position = last_position + 1, active_at = now()
        from quota
        where id = $1
        returning last_position
    ), message as (
        insert into messages (id, chatroom_id, user_id, position, content, idempotency_key)
        select $3, $1, $2, last_position, $5, $4 from place
        returning id, chatroom_id, content, created_at
    )
    select allowance.daily, exists (select from room) as room_exists, accepted.*
    from allowance
    left join (select * from message union all select * from prior) accepted on true";

async fn send(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let room: ChatroomId = http::path(&request, "id", "chatroom")?;
    let key = http::idempotency_key(&request)?;
    let draft: Draft = http::json(&request)?;

    match app.accept(room, caller.user, key, &draft.content).await? {
        Outcome::Accepted(message)
            if message.chatroom_id == room && message.content == draft.content =>
        {
            app.queue.wake(room, caller.user).await;
            let location = format!("/chatroom/{room}/message/{}", message.id);
            http::accepted(Some((&location, RETRY_AFTER)), &message)
        }
        Outcome::Accepted(_) => Err(Error::KeyReused),
        Outcome::OverLimit(over) => Err(Error::OverLimit(over)),
        Outcome::NoSuchRoom => Err(Error::NotFound("chatroom")),
    }
}

impl App {
    /// With a key, a first look may miss a twin that was accepted while the statement ran: it then breaks the unique
    /// key, or finds the twin's message at the limit. Either way a second look sees the twin.
    async fn accept(
        &self,
        room: ChatroomId,
        user: UserId,
        key: Option<&str>,
        content: &str,
    ) -> Result<Outcome> {
        let id = MessageId::new();
        match self.try_accept(id, room, user, key, content).await {
            Ok(Outcome::OverLimit(_)) | Err(database::Error::Duplicate(_)) if key.is_some() => {
                Ok(self.try_accept(id, room, user, key, content).await?)
            }
            outcome => Ok(outcome?),
        }
    }

    async fn try_accept(
        &self,
        id: MessageId,
        room: ChatroomId,
        user: UserId,
        key: Option<&str>,
        content: &str,
    ) -> Result<Outcome, database::Error> {
        let row = self
            .database
            .query_opt(
                ACCEPT,
                &[
                    (&room, Type::UUID),
                    (&user, Type::UUID),
                    (&id, Type::UUID),
                    (&key, Type::TEXT),
                    (&content, Type::TEXT),
                    (&self.limits.basic, Type::INT4),
                    (&self.limits.pro, Type::INT4),
                ],
            )
            .await?;
        // Without a row the account is gone, and its rooms with it.
        let Some(row) = row.filter(|row| row.get("room_exists")) else {
            return Ok(Outcome::NoSuchRoom);
        };
        Ok(match row.get("id") {
            Some(id) => Outcome::Accepted(Message {
                id,
                chatroom_id: row.get("chatroom_id"),
                content: row.get("content"),
                status: Status::Queued,
                created_at: row.get("created_at"),
            }),
            None => Outcome::OverLimit(over_limit(row.get("daily"))),
        })
    }
}

fn over_limit(daily: i32) -> OverLimit {
    let now = OffsetDateTime::now_utc();
    let midnight = now.date().midnight().assume_utc() + time::Duration::DAY;
    OverLimit {
        policy: "daily-messages",
        detail: "Today's messages are used up. Your plan allows more tomorrow (UTC).",
        limit: u32::try_from(daily).unwrap_or_default(),
        window: Duration::from_hours(24),
        retry_after: (midnight - now).unsigned_abs(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, send).await
}
