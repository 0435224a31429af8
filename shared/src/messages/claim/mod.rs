//! Takes a free room with its oldest unsettled message, for a worker that will settle or defer it.

mod history;

#[cfg(test)]
mod tests;

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use super::Result;
use crate::{
    database::Database,
    domain::{ChatroomId, MessageId, UserId},
    gemini::{Trouble, Turn},
    queue::WakeUp,
};

/// Takes the lease of a free room whose oldest unsettled message is due, and returns that message with its history:
/// whole turns, newest first until the budget is spent.
///
/// A claim that waited for the room's row goes on with the snapshot it began with, in which its message may look
/// unsettled although it no longer is. The update of the message therefore repeats its conditions on the row itself,
/// where Postgres checks them against the row as it is now; a view would not do. If they fail, there is a lease but no
/// message.
///
/// A message that is `answering` although its room is free has lost its worker. The draft of that worker is kept only
/// for a message that is to stop there.
///
/// The last turn always comes, however long it is. A reply's tokens are those that the model counted, unless thoughts
/// are most of them; others are estimated at three bytes of UTF-8 each, which few scripts exceed.
const CLAIM: &str = "
    -- $1 user, $2 room, $3 seconds of the lease, $4 seconds until the deadline, $5 estimated tokens of history
    with room as (
        update chatrooms
        set answering_until = now() + make_interval(secs => $3), epoch = epoch + 1
        where user_id = $1 and id = $2
          and (answering_until is null or answering_until <= now())
          and (select not_before <= now() from oldest_unsettled where user_id = $1 and chatroom_id = $2)
        returning epoch
    ), oldest as (
        select oldest_unsettled.id, room.epoch
        from oldest_unsettled, room
        where user_id = $1 and chatroom_id = $2
    ), message as (
        update messages
        set status = 'answering', asked = asked + 1, lost = lost + (status = 'answering')::int4,
            claimed_at = coalesce(claimed_at, now()),
            draft = case when stop_requested_at is not null then draft end, draft_epoch = oldest.epoch
        from oldest
        where messages.user_id = $1 and messages.id = oldest.id
          and messages.unsettled and messages.not_before <= now()
        returning messages.*
    ), recent as (
        select messages.position, messages.content, messages.reply, messages.reply_tokens
        from messages join message on messages.position < message.position
        where messages.user_id = $1 and messages.chatroom_id = $2 and messages.status = 'answered'
        order by messages.position desc limit 500
    ), weighed as (
        select position, content, reply, row_number() over newest as nth,
               sum(octet_length(content) / 3 + least(reply_tokens, octet_length(reply) / 3) + 1) over newest as tokens
        from recent
        window newest as (order by position desc)
    )
    select room.epoch, message.id, message.content, message.created_at, message.asked, message.lost, message.troubles,
           extract(epoch from message.claimed_at + make_interval(secs => $4) - now())::float8 as seconds_left,
           message.stop_requested_at is not null as is_to_stop, message.draft,
           coalesce(usage.tokens >= usage.budget, false) as is_beyond_budget,
           array(select content from weighed where tokens <= $5 or nth = 1 order by position) as prompts,
           array(select reply from weighed where tokens <= $5 or nth = 1 order by position) as replies
    from room
    left join message on true
    left join daily_usage usage on usage.user_id = $1 and usage.day = message.day";

/// Gives a lease back.
const RELEASE: &str = "
    -- $1 user, $2 room, $3 epoch
    update chatrooms set answering_until = null where user_id = $1 and id = $2 and epoch = $3";

/// The terms of a claim.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How long a claim holds without a checkpoint.
    pub lease: Duration,
    /// How long after its first claim a message may still be tried again.
    pub deadline: Duration,
    /// The longest history sent with a prompt, in estimated tokens.
    pub history_tokens: i64,
}

/// The result of claiming a room.
pub enum Claim {
    /// There is nothing due, or somebody else is at it.
    Nothing,
    /// The room was free, but what was due is done. The lease was given back.
    Outdated,
    /// The room is ours.
    Held(Box<Lease>),
}

/// A claimed room with the message to reply to.
pub struct Lease {
    /// The room.
    pub chatroom: ChatroomId,
    /// Its owner.
    pub user: UserId,
    /// The number of the claim, which every write of its worker carries.
    pub epoch: i64,
    /// The room's oldest unsettled message.
    pub message: MessageId,
    pub(super) created_at: OffsetDateTime,
    /// What the user wrote.
    pub prompt: String,
    /// The turns before the prompt, oldest first.
    pub history: Vec<Turn>,
    /// How often the model was asked, this time included.
    pub asked: i32,
    /// How many workers have died with the message.
    pub lost: i32,
    /// Why the message was deferred, each time.
    troubles: Vec<String>,
    /// When the message is no longer tried again.
    pub deadline: Instant,
    /// The owner asked to stop the message.
    pub is_to_stop: bool,
    /// The tokens of the message's day were used up after it was accepted.
    pub is_beyond_budget: bool,
    /// What a worker that died had written, if the message is to stop; otherwise nothing.
    pub draft: String,
}

impl Claim {
    /// Tries to claim a room, on these terms.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn attempt(
        database: &Database,
        WakeUp { user_id: user, chatroom_id: chatroom }: WakeUp,
        terms: &Terms,
    ) -> Result<Self> {
        let claimed = database
            .query_opt(
                CLAIM,
                &[&user, &chatroom, &terms.lease.as_secs_f64(), &terms.deadline.as_secs_f64(), &terms.history_tokens],
            )
            .await?;
        let Some(row) = claimed else {
            return Ok(Self::Nothing);
        };
        let epoch: i64 = row.get("epoch");
        let Some(message) = row.get::<_, Option<MessageId>>("id") else {
            database.query(RELEASE, &[&user, &chatroom, &epoch]).await?;
            return Ok(Self::Outdated);
        };
        let seconds_left: f64 = row.get("seconds_left");
        let prompts: Vec<String> = row.get("prompts");
        let replies: Vec<String> = row.get("replies");
        let turns = prompts.into_iter().zip(replies).map(|(prompt, reply)| Turn { prompt, reply });
        Ok(Self::Held(Box::new(Lease {
            chatroom,
            user,
            epoch,
            message,
            created_at: row.get("created_at"),
            prompt: row.get("content"),
            history: turns.map(|turn| history::fit(turn, terms.history_tokens)).collect(),
            asked: row.get("asked"),
            lost: row.get("lost"),
            troubles: row.get("troubles"),
            deadline: Instant::now() + Duration::from_secs_f64(seconds_left.max(0.0)),
            is_to_stop: row.get("is_to_stop"),
            is_beyond_budget: row.get("is_beyond_budget"),
            draft: row.get::<_, Option<_>>("draft").unwrap_or_default(),
        })))
    }
}

impl Lease {
    /// How often the message was deferred for this reason.
    #[must_use]
    pub fn deferred_for(&self, trouble: Trouble) -> usize {
        let same = |other: &&String| *other == trouble.as_str();
        self.troubles.iter().filter(same).count()
    }
}
