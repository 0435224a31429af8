//! The statements of a worker that holds a room. Each is fenced by the epoch of its claim.

#[cfg(test)]
mod tests;

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_postgres::Row;

use super::{Result, Settings};
use crate::{
    database::{Database, Parameter},
    domain::{ChatroomId, Failure, Message, MessageId, Reply, Status, UserId},
    gemini::{Finish, Model, Trouble, Turn},
    queue::WakeUp,
};

/// Takes the lease of a free room whose oldest unsettled message is due, and returns that message with its history:
/// whole turns, newest first until the budget is spent.
///
/// A claim that waited for the room's row goes on with the snapshot it began with, in which its message may look
/// unsettled although it no longer is. The update of the message therefore repeats its conditions, which Postgres
/// checks against the row as it is now; if they fail, there is a lease but no message.
///
/// A message that is `answering` although its room is free has lost its worker. The draft of that worker is kept only
/// for a message that is to stop there.
///
/// An estimated token is four bytes of UTF-8.
const CLAIM: &str = "
    -- $1 user, $2 room, $3 seconds of the lease, $4 seconds until the deadline, $5 estimated tokens of history
    with room as (
        update chatrooms
        set answering_until = now() + make_interval(secs => $3), epoch = epoch + 1
        where user_id = $1 and id = $2
          and (answering_until is null or answering_until <= now())
          and (select not_before is null or not_before <= now()
               from messages
               where user_id = $1 and chatroom_id = $2 and status in ('queued', 'answering')
               order by position limit 1)
        returning epoch
    ), oldest as (
        select messages.id, room.epoch
        from messages, room
        where messages.user_id = $1 and messages.chatroom_id = $2 and messages.status in ('queued', 'answering')
        order by messages.position limit 1
    ), message as (
        update messages
        set status = 'answering', asked = asked + 1, lost = lost + (status = 'answering')::int4,
            claimed_at = coalesce(claimed_at, now()),
            draft = case when stop_requested_at is not null then draft end, draft_epoch = oldest.epoch
        from oldest
        where messages.user_id = $1 and messages.id = oldest.id
          and messages.status in ('queued', 'answering')
          and (messages.not_before is null or messages.not_before <= now())
        returning messages.*
    ), recent as (
        select messages.position, messages.content, messages.reply
        from messages join message on messages.position < message.position
        where messages.user_id = $1 and messages.chatroom_id = $2 and messages.status = 'answered'
        order by messages.position desc limit 500
    ), weighed as (
        select *, sum((octet_length(content) + octet_length(reply)) / 4 + 1) over (order by position desc) as tokens
        from recent
    )
    select room.epoch, message.id, message.content, message.created_at, message.asked, message.lost, message.troubles,
           extract(epoch from message.claimed_at + make_interval(secs => $4) - now())::float8 as seconds_left,
           message.stop_requested_at is not null as stopped, message.draft,
           array(select content from weighed where tokens <= $5 order by position) as prompts,
           array(select reply from weighed where tokens <= $5 order by position) as replies
    from room left join message on true";

/// Gives a lease back.
const RELEASE: &str = "
    -- $1 user, $2 room, $3 epoch
    update chatrooms set answering_until = null where user_id = $1 and id = $2 and epoch = $3";

/// Prolongs the lease, unless it was given back, stores the draft, and returns whether the reply is to stop.
const CHECKPOINT: &str = "
    -- $1 user, $2 room, $3 epoch, $4 message, $5 seconds of the lease, $6 draft
    with room as (
        update chatrooms set answering_until = now() + make_interval(secs => $5)
        where user_id = $1 and id = $2 and epoch = $3 and answering_until is not null
        returning id
    )
    update messages
    set draft = $6
    from room
    where messages.user_id = $1 and messages.id = $4 and messages.status = 'answering'
    returning stop_requested_at is not null as stopped";

/// The first update is the fence: it locks the room's row, so no other claim can come between it and the message. It
/// returns the row as it is then, so it sees every post whose wake-up found this lease: later messages wait exactly if
/// there are any.
///
/// Sent twice, it returns the same both times.
const SETTLE_ANSWERED: &str = "
    -- $1 user, $2 room, $3 epoch, $4 message, $5 reply, $6 finish reason, $7 model,
    -- $8 tokens of the prompt, $9 of the reply
    with room as (
        update chatrooms set answering_until = null
        where user_id = $1 and id = $2 and epoch = $3
        returning last_position
    ), message as (
        update messages
        set status = 'answered', settled_at = now(), reply = $5, finish_reason = $6, model = $7,
            prompt_tokens = $8, reply_tokens = $9, draft = null
        from room
        where messages.user_id = $1 and messages.id = $4 and messages.status = 'answering'
        returning messages.settled_at, messages.position
    ), settled as (
        select settled_at, position from message
        union all
        select settled_at, position from messages where user_id = $1 and id = $4 and settled_at is not null
    )
    select settled.settled_at, room.last_position > settled.position as more_wait from room, settled";

/// A message that fails through no fault of its own does not count against the day it was accepted on.
///
/// Sent twice, it gives the quota back once and returns the same both times.
const SETTLE_FAILED: &str = "
    -- $1 user, $2 room, $3 epoch, $4 message, $5 reason, $6 whether it is free
    with room as (
        update chatrooms set answering_until = null
        where user_id = $1 and id = $2 and epoch = $3
        returning last_position
    ), message as (
        update messages
        set status = 'failed', settled_at = now(), failure = $5, draft = null
        from room
        where messages.user_id = $1 and messages.id = $4 and messages.status = 'answering'
        returning messages.created_at, messages.settled_at, messages.position
    ), refund as (
        update daily_usage
        set used = used - 1
        from message
        where $6 and daily_usage.user_id = $1
          and daily_usage.day = (message.created_at at time zone 'utc')::date
    ), settled as (
        select settled_at, position from message
        union all
        select settled_at, position from messages where user_id = $1 and id = $4 and settled_at is not null
    )
    select settled.settled_at, room.last_position > settled.position as more_wait from room, settled";

/// A message that is to stop is due at once: the next claim settles it.
///
/// Sent twice, it returns the same both times.
const DEFER: &str = "
    -- $1 user, $2 room, $3 epoch, $4 message, $5 seconds of the delay, $6 trouble
    with room as (
        update chatrooms set answering_until = null where user_id = $1 and id = $2 and epoch = $3 returning id
    ), message as (
        update messages
        set status = 'queued', not_before = case when stop_requested_at is null
                                                 then now() + make_interval(secs => $5) end,
            troubles = troubles || $6, draft = case when stop_requested_at is not null then draft end
        from room
        where messages.user_id = $1 and messages.id = $4 and messages.status = 'answering'
        returning messages.stop_requested_at
    ), deferred as (
        select stop_requested_at from message
        union all
        select stop_requested_at from messages where user_id = $1 and id = $4 and status = 'queued'
    )
    select stop_requested_at is not null as stopped from room, deferred";

/// Forgets that the sweep ever woke a room, so that it does so soon.
const LEAVE_TO_THE_SWEEP: &str = "
    -- $1 user, $2 room
    update chatrooms set woken_at = null where user_id = $1 and id = $2";

/// The result of claiming a room.
pub(super) enum Claim {
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
    created_at: OffsetDateTime,
    pub(super) prompt: String,
    /// The turns before the prompt, oldest first.
    pub(super) history: Vec<Turn>,
    /// How often the model was asked, this time included.
    pub(super) asked: i32,
    /// How many workers have died with it.
    pub(super) lost: i32,
    /// Why it was deferred, each time.
    troubles: Vec<String>,
    /// When it is no longer tried again.
    pub(super) deadline: Instant,
    /// The reply is to stop.
    pub(super) stopped: bool,
    /// What a worker that died had of a reply that is to stop.
    pub(super) draft: String,
}

/// A message at its end.
pub(super) struct Settled {
    pub message: Message,
    /// Later messages wait in the room.
    pub more_wait: bool,
}

impl Claim {
    pub async fn attempt(
        database: &Database,
        WakeUp { user_id: user, chatroom_id: chatroom }: WakeUp,
        settings: &Settings,
    ) -> Result<Self> {
        let claimed = database
            .query_opt(
                CLAIM,
                &[
                    &user,
                    &chatroom,
                    &settings.lease.as_secs_f64(),
                    &settings.deadline.as_secs_f64(),
                    &settings.history_tokens,
                ],
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
        let turns = prompts.into_iter().zip(replies);
        Ok(Self::Held(Box::new(Lease {
            chatroom,
            user,
            epoch,
            message,
            created_at: row.get("created_at"),
            prompt: row.get("content"),
            history: turns.map(|(prompt, reply)| Turn { prompt, reply }).collect(),
            asked: row.get("asked"),
            lost: row.get("lost"),
            troubles: row.get("troubles"),
            deadline: Instant::now() + Duration::from_secs_f64(seconds_left.max(0.0)),
            stopped: row.get("stopped"),
            draft: row.get::<_, Option<_>>("draft").unwrap_or_default(),
        })))
    }
}

impl Lease {
    /// How often the message was deferred for this reason.
    pub(super) fn deferred_for(&self, trouble: Trouble) -> usize {
        let same = |other: &&String| *other == trouble.as_str();
        self.troubles.iter().filter(same).count()
    }

    /// Chooses the model to ask: the fallback, once the usual one was overloaded twice.
    pub(super) fn model(&self) -> Model {
        if self.deferred_for(Trouble::Overload) < 2 { Model::Usual } else { Model::Fallback }
    }

    /// Prolongs the lease from now on, stores the reply as far as it is there, and returns whether it is to stop.
    /// `None` means that the room is no longer ours.
    pub(super) async fn checkpoint(&self, database: &Database, lease: Duration, draft: &str) -> Result<Option<bool>> {
        let row = database
            .query_opt(
                CHECKPOINT,
                &[&self.user, &self.chatroom, &self.epoch, &self.message, &lease.as_secs_f64(), &draft],
            )
            .await?;
        Ok(row.map(|row| row.get("stopped")))
    }

    /// Stores the reply and gives the lease back. Does nothing when the room is no longer ours.
    pub(super) async fn settle_answered(
        &self,
        database: &Database,
        reply: String,
        finish: Finish,
    ) -> Result<Option<Settled>> {
        let row = database
            .query_opt(
                SETTLE_ANSWERED,
                &[
                    &self.user,
                    &self.chatroom,
                    &self.epoch,
                    &self.message,
                    &reply,
                    &finish.reason,
                    &finish.model,
                    &finish.prompt_tokens,
                    &finish.reply_tokens,
                ],
            )
            .await?;
        let settled = |row: Row| Settled {
            more_wait: row.get("more_wait"),
            message: Message {
                reply: Some(Reply {
                    content: reply,
                    model: finish.model,
                    finish_reason: finish.reason,
                    created_at: row.get("settled_at"),
                }),
                ..self.message(Status::Answered)
            },
        };
        Ok(row.map(settled))
    }

    /// Stores why there is no reply and gives the lease back. A free message does not count against the day. Does
    /// nothing when the room is no longer ours.
    pub(super) async fn settle_failed(&self, database: &Database, reason: &str, free: bool) -> Result<Option<Settled>> {
        let row = database
            .query_opt(SETTLE_FAILED, &[&self.user, &self.chatroom, &self.epoch, &self.message, &reason, &free])
            .await?;
        let settled = |row: Row| Settled {
            more_wait: row.get("more_wait"),
            message: Message { failure: Some(Failure::from(reason.to_owned())), ..self.message(Status::Failed) },
        };
        Ok(row.map(settled))
    }

    /// Puts the message back for after `delay`, gives the lease back, and returns the delay that is left: none for a
    /// message that is to stop. Does nothing when the room is no longer ours.
    pub(super) async fn defer(
        &self,
        database: &Database,
        delay: Duration,
        trouble: Trouble,
    ) -> Result<Option<Duration>> {
        let seconds = delay.as_secs_f64();
        let row = database
            .query_opt(DEFER, &[&self.user, &self.chatroom, &self.epoch, &self.message, &seconds, &trouble.as_str()])
            .await?;
        let left = |row: Row| {
            if row.get("stopped") { Duration::ZERO } else { delay }
        };
        Ok(row.map(left))
    }

    /// Lets the next sweep wake the room, whose wake-up could not be sent.
    pub(super) async fn leave_to_the_sweep(&self, database: &Database) -> Result<()> {
        let parameters: [&dyn Parameter; 2] = [&self.user, &self.chatroom];
        database.query(LEAVE_TO_THE_SWEEP, &parameters).await.map(drop)
    }

    fn message(&self, status: Status) -> Message {
        Message {
            id: self.message,
            chatroom_id: self.chatroom,
            content: self.prompt.clone(),
            status,
            created_at: self.created_at,
            draft: None,
            reply: None,
            failure: None,
        }
    }
}
