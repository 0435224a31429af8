//! Ends a worker's time with a message: it is answered, it failed, or it waits for another try.
//!
//! Each statement gives the lease back. Its first update is the fence: it locks the room's row, so no other claim can
//! come between it and the message, and it changes nothing once the room has another epoch.

use std::time::Duration;

use super::{Lease, Result};
use crate::{
    database::Database,
    domain::{Failure, Message, Reply, Status},
    gemini::{Trouble, Written},
};

/// Stores the reply or the failure. The update of the room returns its row as it is then, so it sees every post whose
/// wake-up found this lease: later messages wait exactly if there are any.
///
/// What was asked has been paid for. Only a message that failed through no fault of the user's is given back, and only
/// so many a day: a user who makes messages fail pays for the later ones.
///
/// Sent twice, it counts and gives back once, and returns the same both times.
const SETTLE: &str = "
    -- $1 user, $2 room, $3 epoch, $4 message, $5 status, $6 reply, $7 finish reason, $8 model,
    -- $9 tokens of the prompt, $10 of the reply, $11 failure, $12 whether it may be given back, $13 tokens spent
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
    ), usage as (
        update daily_usage
        set used = used - ($12 and refunded < refundable)::int4,
            refunded = refunded + ($12 and refunded < refundable)::int4, tokens = tokens + $13
        from message
        where daily_usage.user_id = $1 and daily_usage.day = message.day
    ), settled as (
        select settled_at, position from message
        union all
        select settled_at, position from messages where user_id = $1 and id = $4 and not unsettled
    )
    select settled.settled_at, room.last_position > settled.position as more_wait from room, settled";

/// Puts the message back. One that is to stop is due at once: the next claim settles it.
///
/// Sent twice, it counts once and returns the same both times.
const DEFER: &str = "
    -- $1 user, $2 room, $3 epoch, $4 message, $5 seconds of the delay, $6 trouble, $7 tokens spent
    with room as (
        update chatrooms set answering_until = null where user_id = $1 and id = $2 and epoch = $3 returning id
    ), message as (
        update messages
        set status = 'queued', not_before = case when stop_requested_at is null
                                                 then now() + make_interval(secs => $5) else now() end,
            troubles = troubles || $6, draft = case when stop_requested_at is not null then draft end
        from room
        where messages.user_id = $1 and messages.id = $4 and messages.status = 'answering'
        returning messages.day, messages.stop_requested_at
    ), usage as (
        update daily_usage
        set tokens = tokens + $7
        from message
        where daily_usage.user_id = $1 and daily_usage.day = message.day
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
        /// Why the model, or we, stopped there.
        finish_reason: String,
    },
    /// Without one.
    Failed {
        /// Why; see [`Failure::reason`]. It also decides whether the message counts.
        reason: String,
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
    /// Stores how the message ends with what was `written`, and gives the lease back. Returns nothing, and changes
    /// nothing, when the room is no longer this worker's.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn settle(&self, database: &Database, end: End, written: Written) -> Result<Option<Settled>> {
        let spent = self.spent(&written);
        let (status, finish_reason, failure, is_free) = match end {
            End::Answered { finish_reason } => (Status::Answered, Some(finish_reason), None, false),
            End::Failed { reason } => {
                let is_free = Failure::is_free(&reason);
                (Status::Failed, None, Some(reason), is_free)
            }
        };
        let Written { text, model, prompt_tokens, reply_tokens } = written;
        let reply = finish_reason.is_some().then_some(text);
        let row = database
            .query_opt(
                SETTLE,
                &[
                    &self.user,
                    &self.chatroom,
                    &self.epoch,
                    &self.message,
                    &status.as_str(),
                    &reply,
                    &finish_reason,
                    &model,
                    &prompt_tokens,
                    &reply_tokens,
                    &failure,
                    &is_free,
                    &spent,
                ],
            )
            .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let created_at = row.get("settled_at");
        let reply = reply.zip(finish_reason);
        let reply = reply.map(|(content, finish_reason)| Reply { content, model, finish_reason, created_at });
        let message = Message::accepted(self.message, self.chatroom, self.prompt.clone(), self.created_at);
        let message = Message { status, reply, failure: failure.map(Failure::from), ..message };
        Ok(Some(Settled { message, more_wait: row.get("more_wait") }))
    }

    /// Puts the message back for after `delay`, gives the lease back, and returns the delay that is left: none for a
    /// message that is to stop. Returns nothing, and changes nothing, when the room is no longer this worker's.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn defer(
        &self,
        database: &Database,
        delay: Duration,
        trouble: Trouble,
        written: &Written,
    ) -> Result<Option<Duration>> {
        let (seconds, spent) = (delay.as_secs_f64(), self.spent(written));
        let row = database
            .query_opt(
                DEFER,
                &[&self.user, &self.chatroom, &self.epoch, &self.message, &seconds, &trouble.as_str(), &spent],
            )
            .await?;
        Ok(row.map(|row| if row.get("is_to_stop") { Duration::ZERO } else { delay }))
    }

    /// The tokens that an ask has cost, as the model counts them. A reply that breaks off may come without its counts:
    /// then they are estimated. A model that neither wrote nor counted cost nothing.
    fn spent(&self, written: &Written) -> i64 {
        let Written { text, prompt_tokens, reply_tokens, .. } = written;
        if text.is_empty() && prompt_tokens.is_none() && reply_tokens.is_none() {
            return 0;
        }
        let turns = self.history.iter().map(|turn| estimate(&turn.prompt) + estimate(&turn.reply));
        let read = prompt_tokens.map_or_else(|| turns.sum::<i64>() + estimate(&self.prompt), i64::from);
        read + reply_tokens.map_or_else(|| estimate(text), i64::from)
    }
}

/// Estimates the tokens of a text: three bytes of UTF-8 each.
fn estimate(text: &str) -> i64 {
    i64::try_from(text.len() / 3 + 1).unwrap_or(i64::MAX)
}
