//! The statements of a worker that holds a room. Each is fenced by the epoch of its claim.

use std::time::Duration;

use tokio::time::Instant;

use super::{Result, Settings};
use crate::{
    database::{Database, Type},
    domain::{ChatroomId, MessageId, UserId},
    model::{Answer, Turn},
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
    with room as (
        update chatrooms
        set answering_until = now() + make_interval(secs => $2), epoch = epoch + 1
        where id = $1
          and (answering_until is null or answering_until <= now())
          and (select not_before is null or not_before <= now()
               from messages
               where chatroom_id = $1 and status in ('queued', 'answering')
               order by position limit 1)
        returning id, user_id, epoch
    ), oldest as (
        select messages.id
        from messages join room on messages.chatroom_id = room.id
        where messages.status in ('queued', 'answering')
        order by messages.position limit 1
    ), message as (
        update messages
        set status = 'answering', asked = asked + 1
        from oldest
        where messages.id = oldest.id
          and messages.status in ('queued', 'answering')
          and (messages.not_before is null or messages.not_before <= now())
        returning messages.id, messages.position, messages.content, messages.asked, messages.created_at
    ), recent as (
        select messages.position, messages.content, messages.reply
        from messages join message on messages.position < message.position
        where messages.chatroom_id = $1 and messages.status = 'answered'
        order by messages.position desc limit 500
    ), weighed as (
        select *, sum((octet_length(content) + octet_length(reply)) / 4 + 1) over (order by position desc) as tokens
        from recent
    )
    select room.user_id, room.epoch, message.id, message.content, message.asked,
           extract(epoch from message.created_at + make_interval(secs => $3) - now())::float8 as seconds_left,
           array(select content from weighed where tokens <= $4 order by position) as prompts,
           array(select reply from weighed where tokens <= $4 order by position) as replies
    from room left join message on true";

/// Gives a lease back.
const RELEASE: &str = "
    update chatrooms set answering_until = null where id = $1 and epoch = $2";

const RENEW: &str = "
    update chatrooms set answering_until = now() + make_interval(secs => $3)
    where id = $1 and epoch = $2
    returning id";

/// The first update is the fence: it locks the room's row, so no other claim can come between it and the message.
const SETTLE_ANSWERED: &str = "
    with room as (
        update chatrooms set answering_until = null where id = $1 and epoch = $2 returning id
    )
    update messages
    set status = 'answered', settled_at = now(), reply = $4, finish_reason = $5, model = $6,
        prompt_tokens = $7, reply_tokens = $8
    from room
    where messages.id = $3 and messages.status = 'answering'";

/// A failed message does not count against the day it was accepted on.
const SETTLE_FAILED: &str = "
    with room as (
        update chatrooms set answering_until = null where id = $1 and epoch = $2 returning id
    ), message as (
        update messages
        set status = 'failed', settled_at = now(), failure = $4
        from room
        where messages.id = $3 and messages.status = 'answering'
        returning messages.user_id, messages.created_at
    )
    update daily_usage
    set used = used - 1
    from message
    where daily_usage.user_id = message.user_id
      and daily_usage.day = (message.created_at at time zone 'utc')::date";

const DEFER: &str = "
    with room as (
        update chatrooms set answering_until = null where id = $1 and epoch = $2 returning id
    )
    update messages
    set status = 'queued', not_before = now() + make_interval(secs => $4)
    from room
    where messages.id = $3 and messages.status = 'answering'";

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
        chatroom: ChatroomId,
        settings: &Settings,
    ) -> Result<Self> {
        let claimed = database
            .query_opt(
                CLAIM,
                &[
                    (&chatroom, Type::UUID),
                    (&settings.lease.as_secs_f64(), Type::FLOAT8),
                    (&settings.deadline.as_secs_f64(), Type::FLOAT8),
                    (&settings.history_tokens, Type::INT8),
                ],
            )
            .await?;
        let Some(row) = claimed else {
            return Ok(Self::Nothing);
        };
        let epoch: i64 = row.get("epoch");
        let Some(message) = row.get::<_, Option<MessageId>>("id") else {
            let parameters = &[(&chatroom as _, Type::UUID), (&epoch as _, Type::INT8)];
            database.query(RELEASE, parameters).await?;
            return Ok(Self::Outdated);
        };
        let seconds_left: f64 = row.get("seconds_left");
        let prompts: Vec<String> = row.get("prompts");
        let replies: Vec<String> = row.get("replies");
        let turns = prompts.into_iter().zip(replies);
        Ok(Self::Held(Lease {
            chatroom,
            user: row.get("user_id"),
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
        let parameters = &[
            (&self.chatroom as _, Type::UUID),
            (&self.epoch as _, Type::INT8),
            (&seconds as _, Type::FLOAT8),
        ];
        Ok(database.query_opt(RENEW, parameters).await?.is_some())
    }

    /// Stores the answer, if the room is still ours, and gives the lease back.
    pub async fn settle_answered(&self, database: &Database, answer: &Answer) -> Result<()> {
        let parameters = &[
            (&self.chatroom as _, Type::UUID),
            (&self.epoch as _, Type::INT8),
            (&self.message as _, Type::UUID),
            (&answer.text as _, Type::TEXT),
            (&answer.finish_reason as _, Type::TEXT),
            (&answer.model as _, Type::TEXT),
            (&answer.prompt_tokens as _, Type::INT4),
            (&answer.reply_tokens as _, Type::INT4),
        ];
        database.query(SETTLE_ANSWERED, parameters).await.map(drop)
    }

    /// Stores why there is no answer and returns the quota, if the room is still ours, and gives the lease back.
    pub async fn settle_failed(&self, database: &Database, reason: &str) -> Result<()> {
        let parameters = &[
            (&self.chatroom as _, Type::UUID),
            (&self.epoch as _, Type::INT8),
            (&self.message as _, Type::UUID),
            (&reason as _, Type::TEXT),
        ];
        database.query(SETTLE_FAILED, parameters).await.map(drop)
    }

    /// Puts the message back for after `delay`, if the room is still ours, and gives the lease back.
    pub async fn defer(&self, database: &Database, delay: Duration) -> Result<()> {
        let seconds = delay.as_secs_f64();
        let parameters = &[
            (&self.chatroom as _, Type::UUID),
            (&self.epoch as _, Type::INT8),
            (&self.message as _, Type::UUID),
            (&seconds as _, Type::FLOAT8),
        ];
        database.query(DEFER, parameters).await.map(drop)
    }
}
