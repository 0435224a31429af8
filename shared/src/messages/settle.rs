//! Ends a worker's time with a message: it is answered, it failed, or it waits for another try.
//!
//! Each statement gives the lease back. Its first update is the fence: it locks the room's row, so no other claim can
//! come between it and the message, and it changes nothing once the room has another epoch.

use std::time::Duration;

use super::{Lease, Result};
use crate::{
    database::Database,
    domain::{Failure, Message, Reply, Status},
    gemini::{Finish, Trouble},
};

/// Stores the reply or the failure. The update of the room returns its row as it is then, so it sees every post whose
/// wake-up found this lease: later messages wait exactly if there are any.
///
/// A free message does not count against the day it was accepted on.
///
/// Sent twice, it gives the quota back once and returns the same both times.
const SETTLE: &str = "
    -- $1 user, $2 room, $3 epoch, $4 message, $5 status, $6 reply, $7 finish reason, $8 model,
    -- $9 tokens of the prompt, $10 of the reply, $11 failure, $12 whether it is free
    with room as (
        update chatrooms set answering_until = null
        where user_id = $1 and id = $2 and epoch = $3
        returning last_position
    ), message as (
        update messages
        set status = $5, settled_at = now(), reply = $6, finish_reason = $7, model = $8, prompt_tokens = $9,
            reply_tokens = $10, failure = $11, draft = null
        from room
        where messages.user_id = $1 and messages.id = $4 and messages.status = 'answering'
        returning messages.day, messages.settled_at, messages.position
    ), refund as (
        update daily_usage
        set used = used - 1
        from message
        where $12 and daily_usage.user_id = $1 and daily_usage.day = message.day
    ), settled as (
        select settled_at, position from message
        union all
        select settled_at, position from messages where user_id = $1 and id = $4 and not unsettled
    )
    select settled.settled_at, room.last_position > settled.position as more_wait from room, settled";

/// Puts the message back. One that is to stop is due at once: the next claim settles it.
///
/// Sent twice, it returns the same both times.
const DEFER: &str = "
    -- $1 user, $2 room, $3 epoch, $4 message, $5 seconds of the delay, $6 trouble
    with room as (
        update chatrooms set answering_until = null where user_id = $1 and id = $2 and epoch = $3 returning id
    ), message as (
        update messages
        set status = 'queued', not_before = case when stop_requested_at is null
                                                 then now() + make_interval(secs => $5) else now() end,
            troubles = troubles || $6, draft = case when stop_requested_at is not null then draft end
        from room
        where messages.user_id = $1 and messages.id = $4 and messages.status = 'answering'
        returning messages.stop_requested_at
    ), deferred as (
        select stop_requested_at from message
        union all
        select stop_requested_at from messages where user_id = $1 and id = $4 and status = 'queued'
    )
    select stop_requested_at is not null as is_to_stop from room, deferred";

/// How a message ends.
#[derive(Debug, Clone)]
pub enum End {
    /// With a reply.
    Answered {
        /// Its text.
        reply: String,
        /// What the model said at its end.
        finish: Finish,
    },
    /// Without one.
    Failed {
        /// Why; see [`Failure::reason`].
        reason: String,
        /// It does not count against the day.
        is_free: bool,
    },
}

/// A message at its end.
pub struct Settled {
    /// The message.
    pub message: Message,
    /// Later messages wait in the room.
    pub more_wait: bool,
}

impl Lease {
    /// Stores how the message ends and gives the lease back. Returns nothing, and changes nothing, when the room is no
    /// longer this worker's.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn settle(&self, database: &Database, end: End) -> Result<Option<Settled>> {
        let (status, reply, finish, failure, is_free) = match end {
            End::Answered { reply, finish } => ("answered", Some(reply), Some(finish), None, false),
            End::Failed { reason, is_free } => ("failed", None, None, Some(reason), is_free),
        };
        let row = database
            .query_opt(
                SETTLE,
                &[
                    &self.user,
                    &self.chatroom,
                    &self.epoch,
                    &self.message,
                    &status,
                    &reply,
                    &finish.as_ref().map(|finish| finish.reason.as_str()),
                    &finish.as_ref().and_then(|finish| finish.model.as_deref()),
                    &finish.as_ref().and_then(|finish| finish.prompt_tokens),
                    &finish.as_ref().and_then(|finish| finish.reply_tokens),
                    &failure,
                    &is_free,
                ],
            )
            .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let accepted = Message::accepted(self.message, self.chatroom, self.prompt.clone(), self.created_at);
        let settled_at = row.get("settled_at");
        let reply = reply.zip(finish).map(|(content, finish)| Reply {
            content,
            model: finish.model,
            finish_reason: finish.reason,
            created_at: settled_at,
        });
        let status = if reply.is_some() { Status::Answered } else { Status::Failed };
        let message = Message { status, reply, failure: failure.map(Failure::from), ..accepted };
        Ok(Some(Settled { message, more_wait: row.get("more_wait") }))
    }

    /// Puts the message back for after `delay`, gives the lease back, and returns the delay that is left: none for a
    /// message that is to stop. Returns nothing, and changes nothing, when the room is no longer this worker's.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn defer(&self, database: &Database, delay: Duration, trouble: Trouble) -> Result<Option<Duration>> {
        let seconds = delay.as_secs_f64();
        let row = database
            .query_opt(DEFER, &[&self.user, &self.chatroom, &self.epoch, &self.message, &seconds, &trouble.as_str()])
            .await?;
        Ok(row.map(|row| if row.get("is_to_stop") { Duration::ZERO } else { delay }))
    }
}
