//! Accepts a message, for `message-send` and `message-stream`: the same limits, keys and errors, whoever answers it.

use std::time::Duration;

use serde::Deserialize;
use tokio_postgres::Row;

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

/// A message that is stored.
#[derive(Debug)]
pub struct Accepted {
    /// The message as it was when it was accepted.
    pub message: Message,
    /// It was stored now, and not before under the same key: its room has to be woken.
    pub is_new: bool,
}

enum Outcome {
    /// Stored now, or before under the same key.
    Accepted(Accepted),
    OverLimit(OverLimit),
    NoSuchRoom,
}

/// Accepts at most one message for each idempotency key, and none past a limit of the day, under any concurrency: the
/// counter's `on conflict … where` locks its row, and the message is inserted only from it. A twin with the same key
/// that commits meanwhile breaks the unique index, and nothing of this statement stays.
///
/// The day's limits are what the plan allows, less what deleted accounts of the same number did today. They are read
/// here and not at the sign-up, which may come before a deletion is stored.
///
/// Locking the room first keeps a room that is deleted meanwhile from costing quota. `prior` also finds the message by
/// its own id, in case this very statement is sent twice.
const ACCEPT: &str = "
    -- $1 user, $2 room, $3 message, $4 idempotency key, $5 content, $6 and $7 messages a day of Basic and Pro,
    -- $8 and $9 tokens a day of Basic and Pro, $10 posts for each message of the limit
    with room as (
        select id from chatrooms where user_id = $1 and id = $2 for no key update
    ), prior as (
        select id, chatroom_id, content, created_at from messages where user_id = $1 and id = $3
        union
        select id, chatroom_id, content, created_at from messages where user_id = $1 and idempotency_key = $4
    ), today as (
        select (now() at time zone 'utc')::date as day
    ), plan as (
        select case plan when 'pro' then $7::int else $6::int end as messages,
               case plan when 'pro' then $9::bigint else $8::bigint end as tokens
        from plans where user_id = $1
    ), departed as (
        select departed_usage.*
        from users, today, departed_usage
        where users.id = $1 and departed_usage.number_hash = users.number_hash and departed_usage.day = today.day
    ), allowance as (
        select plan.messages - coalesce(departed.used, 0) as messages,
               plan.messages - coalesce(departed.refunded, 0) as refunds,
               plan.messages::bigint * $10::int - coalesce(departed.accepted, 0) as posts,
               plan.tokens - coalesce(departed.tokens, 0) as tokens
        from plan left join departed on true
    ), quota as (
        insert into daily_usage as usage (user_id, day, used, accepted, refundable, budget)
        select $1, day, 1, 1, refunds, tokens
        from room, today, allowance
        where messages > 0 and posts > 0 and tokens > 0 and not exists (select from prior)
        on conflict (user_id, day) do update
        set used = usage.used + 1, accepted = usage.accepted + 1, refundable = excluded.refundable,
            budget = excluded.budget
        where usage.used < (select messages from allowance) and usage.accepted < (select posts from allowance)
          and usage.tokens < (select tokens from allowance)
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
    select exists (select from room) as room_exists, accepted.*, plan.messages as daily_messages,
           plan.tokens as daily_tokens,
           coalesce(usage.tokens, 0) >= allowance.tokens as has_no_tokens,
           coalesce(usage.accepted, 0) >= allowance.posts as has_no_posts,
           extract(epoch from (today.day + 1)::timestamp at time zone 'utc' - now())::float8 as seconds_left
    from plan
    cross join allowance
    cross join today
    left join daily_usage usage on usage.user_id = $1 and usage.day = today.day
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
    pub async fn accept(&self, user: UserId, room: ChatroomId, key: Option<&str>, post: &Post) -> Result<Accepted> {
        let id = MessageId::new();
        let content = post.content.as_str();
        let outcome = match self.attempt(id, room, user, key, content).await {
            Ok(Outcome::OverLimit(_)) | Err(database::Error::Duplicate(_)) if key.is_some() => {
                self.attempt(id, room, user, key, content).await?
            }
            outcome => outcome?,
        };
        match outcome {
            Outcome::Accepted(Accepted { message, is_new })
                if message.chatroom_id == room && message.content == content =>
            {
                Ok(Accepted { message, is_new })
            }
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
        let DailyLimits { messages, tokens, posts_per_message } = &self.limits;
        let row = self
            .database
            .query_opt(
                ACCEPT,
                &[
                    &user,
                    &room,
                    &id,
                    &key,
                    &content,
                    &messages.basic,
                    &messages.pro,
                    &tokens.basic,
                    &tokens.pro,
                    posts_per_message,
                ],
            )
            .await?;
        // Without a row the account is gone, and its rooms with it.
        let Some(row) = row.filter(|row| row.get("room_exists")) else {
            return Ok(Outcome::NoSuchRoom);
        };
        Ok(match row.get("id") {
            Some(found) => Outcome::Accepted(Accepted {
                message: Message::accepted(found, row.get("chatroom_id"), row.get("content"), row.get("created_at")),
                is_new: found == id,
            }),
            None => Outcome::OverLimit(self.over_limit(&row)),
        })
    }

    /// Says which limit of the day a post met: the first one of these three that is used up.
    fn over_limit(&self, row: &Row) -> OverLimit {
        let limit = |of: i64| u32::try_from(of).unwrap_or(u32::MAX);
        let messages = i64::from(row.get::<_, i32>("daily_messages"));
        let over = OverLimit {
            policy: "daily-messages",
            detail: "Today's messages are used up. Your plan allows more tomorrow (UTC).",
            limit: limit(messages),
            window: Duration::from_hours(24),
            retry_after: Duration::from_secs_f64(row.get::<_, f64>("seconds_left").max(0.0)),
        };
        if row.get("has_no_tokens") {
            return OverLimit {
                policy: "daily-tokens",
                detail: "Today's tokens are used up. Your plan allows more tomorrow (UTC).",
                limit: limit(row.get("daily_tokens")),
                ..over
            };
        }
        if row.get("has_no_posts") {
            return OverLimit {
                policy: "daily-posts",
                detail: "You have posted as often as you may today, stopped and failed messages included. Your plan \
                         allows more tomorrow (UTC).",
                limit: limit(messages * i64::from(self.limits.posts_per_message)),
                ..over
            };
        }
        over
    }
}
