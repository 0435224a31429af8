//! Accepts a message, for `message-send` and `message-stream`: the same limits, keys and errors, whoever answers it.

use std::time::Duration;

use serde::Deserialize;
use time::OffsetDateTime;

use crate::{
    Error, Result,
    config::ConfigError,
    database::{self, Database},
    domain::{ChatroomId, Content, DailyLimits, Message, MessageId, UserId},
    error::OverLimit,
};

#[cfg(test)]
mod tests;

/// The body of a post.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Post {
    content: Content,
}

impl Post {
    /// The post of a text.
    #[must_use]
    pub fn new(content: Content) -> Self {
        Self { content }
    }
}

/// Stores messages.
pub struct Posting {
    database: Database,
    limits: DailyLimits,
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
/// Locking the room first keeps a room that is deleted meanwhile from costing quota. `prior` also finds the message by
/// its own id, in case this very statement is sent twice.
const ACCEPT: &str = "
    -- $1 user, $2 room, $3 message, $4 idempotency key, $5 content, $6 and $7 messages a day of Basic and Pro
    with room as (
        select id from chatrooms where user_id = $1 and id = $2 for no key update
    ), prior as (
        select id, chatroom_id, content, created_at from messages where user_id = $1 and id = $3
        union
        select id, chatroom_id, content, created_at from messages where user_id = $1 and idempotency_key = $4
    ), allowance as (
        select case plan when 'pro' then $7::int else $6::int end as daily from plans where user_id = $1
    ), quota as (
        insert into daily_usage as usage (user_id, day, used)
        select $1, (now() at time zone 'utc')::date, 1
        from room, allowance
        where daily > 0 and not exists (select from prior)
        on conflict (user_id, day) do update set used = usage.used + 1
        where usage.used < (select daily from allowance)
        returning used
    ), turn as (
        update chatrooms
        set last_position = last_position + 1, active_at = now()
        from quota
        where user_id = $1 and id = $2
        returning last_position
    ), message as (
        insert into messages (user_id, id, chatroom_id, position, content, idempotency_key)
        select $1, $3, $2, last_position, $5, $4 from turn
        returning id, chatroom_id, content, created_at
    )
    select allowance.daily, exists (select from room) as room_exists, accepted.*
    from allowance
    left join (select * from message union all select * from prior) accepted on true";

impl Posting {
    /// Stores messages in `database`, within the limits that the environment sets.
    ///
    /// # Errors
    /// When a limit is not a number.
    pub fn from_env(database: Database) -> Result<Self, ConfigError> {
        Ok(Self::new(database, DailyLimits::from_env()?))
    }

    /// Stores messages in `database`, within `limits`.
    #[must_use]
    pub fn new(database: Database, limits: DailyLimits) -> Self {
        Self { database, limits }
    }

    /// Accepts a message of `user`, or finds the one that was accepted under the same key. Either way the message is
    /// durable, and returned as it was when it was accepted.
    ///
    /// With a key, a first look may miss a twin that was accepted while the statement ran: it then breaks the unique
    /// key, or finds the twin's message at the limit. Either way a second look sees the twin.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the room is not the user's, [`Error::OverLimit`] when the day's messages are used up,
    /// [`Error::KeyReused`] when the key belongs to another message.
    pub async fn accept(&self, user: UserId, room: ChatroomId, key: Option<&str>, post: &Post) -> Result<Message> {
        let id = MessageId::new();
        let content = post.content.as_str();
        let outcome = match self.attempt(id, room, user, key, content).await {
            Ok(Outcome::OverLimit(_)) | Err(database::Error::Duplicate(_)) if key.is_some() => {
                self.attempt(id, room, user, key, content).await?
            }
            outcome => outcome?,
        };
        match outcome {
            Outcome::Accepted(message) if message.chatroom_id == room && message.content == content => Ok(message),
            Outcome::Accepted(_) => Err(Error::KeyReused),
            Outcome::OverLimit(over) => Err(Error::OverLimit(over)),
            Outcome::NoSuchRoom => Err(Error::NotFound("chatroom")),
        }
    }

    async fn attempt(
        &self,
        id: MessageId,
        room: ChatroomId,
        user: UserId,
        key: Option<&str>,
        content: &str,
    ) -> Result<Outcome, database::Error> {
        let row = self
            .database
            .query_opt(ACCEPT, &[&user, &room, &id, &key, &content, &self.limits.basic, &self.limits.pro])
            .await?;
        // Without a row the account is gone, and its rooms with it.
        let Some(row) = row.filter(|row| row.get("room_exists")) else {
            return Ok(Outcome::NoSuchRoom);
        };
        Ok(match row.get("id") {
            Some(id) => Outcome::Accepted(Message::accepted(
                id,
                row.get("chatroom_id"),
                row.get("content"),
                row.get("created_at"),
            )),
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
