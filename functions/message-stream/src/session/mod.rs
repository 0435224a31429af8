//! One connection's part in a message: works on its reply when nobody else does, and otherwise follows who does.
//!
//! A connection never mixes two texts. Once it has sent a part of one, it ends when another worker takes over or the
//! message waits for another try; the client comes again, and gets the other text from its beginning. Only a connection
//! that has sent nothing yet becomes the worker.

#[cfg(test)]
mod tests;

use std::{pin::pin, time::Duration};

use shared::{
    Result,
    answering::{Answering, Draft, End, Lease, Worked},
    domain::{Failure, Message, Status, UserId},
    queue::WakeUp,
};
use tokio::time::{Instant, sleep};

use crate::events::EventWriter;

/// How a message ends whose reply was to stop.
const STOPPED: &str = "STOPPED";

/// How long to wait between two looks at what another worker writes.
const PAUSE: Duration = Duration::from_millis(300);

/// How long a connection follows. Its client comes again.
const PATIENCE: Duration = Duration::from_mins(1);

/// Reads how far a message is: the text after a position, or all of it if the position belongs to another epoch, and
/// whether the room is free for somebody to go on.
const LOOK: &str = "
    -- $1 user, $2 room, $3 message, $4 epoch of the position, $5 the first character after it
    select message.status, coalesce(message.draft_epoch, 0) as epoch, message.finish_reason, message.failure,
           substr(coalesce(message.reply, message.draft, ''),
                  case when message.draft_epoch = $4 then $5 else 1 end) as text,
           message.settled_at is null
           and coalesce(room.answering_until <= now(), true)
           and coalesce((select not_before is null or not_before <= now()
                         from messages
                         where user_id = $1 and chatroom_id = $2 and status in ('queued', 'answering')
                         order by position limit 1), false) as is_free
    from chatrooms room join messages message on message.user_id = $1 and message.id = $3
    where room.user_id = $1 and room.id = $2";

/// A connection and the message it is about.
pub struct Session {
    answering: &'static Answering,
    room: WakeUp,
    message: Message,
    events: EventWriter,
    has_started: bool,
    until: Instant,
}

/// How far a message is.
struct Look {
    status: Status,
    epoch: i64,
    text: String,
    finish_reason: Option<String>,
    failure: Option<String>,
    is_free: bool,
}

impl Session {
    /// A connection of `user` that goes on after the position of `events`, as long as there is such a text.
    pub fn new(answering: &'static Answering, user: UserId, message: Message, events: EventWriter) -> Self {
        Self {
            answering,
            room: WakeUp { user_id: user, chatroom_id: message.chatroom_id },
            message: Message { reply: None, failure: None, ..message },
            events,
            has_started: false,
            until: Instant::now() + PATIENCE,
        }
    }

    /// Writes events until the message is at its end, or the client is to come again. `may_be_free` says that it is
    /// worth trying to claim the room without a look.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn run(&mut self, mut may_be_free: bool) -> Result<()> {
        loop {
            let mut may_claim = !may_be_free;
            if may_be_free && let Some(lease) = self.answering.claim(self.room).await? {
                // The room's oldest message comes first, which need not be this connection's.
                let worked = self.work(&lease).await?;
                let is_over = self.is_over(&worked.end);
                self.answering.hand_over(&lease, &worked).await;
                if is_over {
                    return Ok(());
                }
                may_claim = true;
            }
            let Some(look) = self.look().await? else {
                return Ok(()); // the room is gone
            };
            let is_over = if look.is_free { self.has_sent() } else { self.show(&look) };
            if is_over || Instant::now() >= self.until {
                return Ok(());
            }
            may_be_free = look.is_free;
            if !(may_be_free && may_claim) {
                sleep(PAUSE).await;
            }
        }
    }

    /// Whether the client has a part of a text, which no other one may follow.
    fn has_sent(&self) -> bool {
        self.has_started && self.events.position.characters > 0
    }

    /// Ends the connection, if its message is at its end. Otherwise the next look decides.
    fn is_over(&mut self, end: &End) -> bool {
        match end {
            End::Settled(message) if message.id == self.message.id => {
                self.end(message);
                true
            }
            End::Settled(_) | End::Deferred | End::Lost => false,
        }
    }

    /// Works on the message of a lease, and passes on what is written if it is this connection's.
    async fn work(&mut self, lease: &Lease) -> Result<Worked> {
        let draft = Draft::default();
        let mut work = pin!(self.answering.work(lease, &draft));
        if lease.message != self.message.id {
            return Ok(work.await?);
        }
        self.events.position.epoch = lease.epoch;
        self.events.position.characters = 0;
        self.start(Status::Answering);
        let mut written = draft.subscribe();
        let mut sent = 0;
        loop {
            let worked = tokio::select! {
                biased;
                _ = written.changed() => None,
                worked = &mut work => Some(worked?),
            };
            let text = written.borrow_and_update();
            self.events.text(text.get(sent..).unwrap_or_default());
            sent = text.len();
            if let Some(worked) = worked {
                return Ok(worked);
            }
        }
    }

    async fn look(&self) -> Result<Option<Look>> {
        let position = &self.events.position;
        // A client may send any number.
        let next = i32::try_from(position.characters).unwrap_or(i32::MAX).saturating_add(1);
        let WakeUp { user_id, chatroom_id } = self.room;
        let row = self
            .answering
            .database()
            .query_opt(LOOK, &[&user_id, &chatroom_id, &self.message.id, &position.epoch, &next])
            .await?;
        Ok(row.map(|row| Look {
            status: row.get("status"),
            epoch: row.get("epoch"),
            text: row.get("text"),
            finish_reason: row.get("finish_reason"),
            failure: row.get("failure"),
            is_free: row.get("is_free"),
        }))
    }

    /// Passes on what another worker has written. Returns whether the connection is over.
    fn show(&mut self, look: &Look) -> bool {
        // A message that waits for another try has no text any more.
        let goes_on = look.epoch == self.events.position.epoch && look.status != Status::Queued;
        if !goes_on {
            if self.has_sent() {
                return true;
            }
            self.events.position.epoch = look.epoch;
            self.events.position.characters = 0;
        }
        self.start(look.status);
        self.events.text(&look.text);
        if let Some(finish_reason) = &look.finish_reason {
            self.finish(finish_reason);
        }
        if let Some(failure) = &look.failure {
            self.fail(&Failure::from(failure.clone()));
        }
        look.status.is_settled()
    }

    fn start(&mut self, status: Status) {
        self.message.status = status;
        if !self.has_started {
            self.has_started = true;
            self.events.start(&self.message);
        }
    }

    fn end(&mut self, message: &Message) {
        if let Some(reply) = &message.reply {
            self.finish(&reply.finish_reason);
        }
        if let Some(failure) = &message.failure {
            self.fail(failure);
        }
    }

    fn finish(&mut self, finish_reason: &str) {
        self.message.status = Status::Answered;
        if finish_reason == STOPPED {
            self.events.abort(STOPPED);
        } else {
            self.events.finish(finish_reason, &self.message);
        }
    }

    fn fail(&self, failure: &Failure) {
        if failure.reason == STOPPED {
            self.events.abort(STOPPED);
        } else {
            self.events.fail(failure);
        }
    }
}
