//! One connection's part in a message: works on its reply when nobody else does, and otherwise follows who does.
//!
//! A connection never mixes two texts. Once it has sent a part of one, it ends when another worker takes over or the
//! message waits for another try; the client comes again, and gets the other text from its beginning. Only a connection
//! that has sent nothing yet becomes the worker.

#[cfg(test)]
mod tests;

use std::{pin::pin, sync::Arc, time::Duration};

use shared::{
    Result,
    answering::{Answering, Draft, Fate, Worked},
    domain::{Failure, Message, Status, UserId},
    messages::{self, Lease, Look},
    queue::WakeUp,
};
use tokio::time::{Instant, sleep};

use crate::{events::EventWriter, slots::Slot};

/// The reason of a stopped message.
const STOPPED: &str = "STOPPED";

/// The pause between two looks at what another worker writes.
const PAUSE: Duration = Duration::from_millis(300);

/// The longest time that a reader is served; it then reconnects.
const PATIENCE: Duration = Duration::from_mins(1);

/// A connection and the message it is about.
pub struct Connection {
    answering: &'static Answering,
    room: WakeUp,
    message: Message,
    events: EventWriter,
    slot: Arc<Slot>,
    has_started: bool,
    until: Instant,
}

/// What a connection does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Claim the room and work on its oldest message, which need not be this connection's.
    Claim,
    /// Pass on what another worker has written.
    Look,
    /// Let the other worker write, and look again.
    Pause,
}

impl Connection {
    /// A connection of `user` that goes on after the position of `events`, as long as there is such a text and it has
    /// its slot.
    pub fn new(
        answering: &'static Answering,
        user: UserId,
        message: Message,
        events: EventWriter,
        slot: Arc<Slot>,
    ) -> Self {
        Self {
            answering,
            room: WakeUp { user_id: user, chatroom_id: message.chatroom_id },
            message: Message { draft: None, reply: None, failure: None, ..message },
            events,
            slot,
            has_started: false,
            until: Instant::now() + PATIENCE,
        }
    }

    /// Writes events until the message is settled, or the client is to reconnect.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn run(&mut self, first: Step) -> Result<()> {
        let mut next = Some(first);
        while let Some(step) = next {
            next = match step {
                Step::Claim => self.claim().await?,
                Step::Look => self.look().await?,
                Step::Pause => {
                    sleep(PAUSE).await;
                    Some(Step::Look)
                }
            };
        }
        Ok(())
    }

    /// Works, if the room is free. A look tells how things stand then, unless the connection is over.
    async fn claim(&mut self) -> Result<Option<Step>> {
        let Some(lease) = self.answering.claim(self.room).await? else {
            return Ok(Some(Step::Look));
        };
        self.slot.work(self.answering.database()).await;
        let worked = self.work(&lease).await?;
        let next = match &worked.fate {
            Fate::Settled(message) if message.id == self.message.id => {
                self.end(message);
                None
            }
            Fate::Settled(_) | Fate::Deferred | Fate::Lost => Some(Step::Look),
        };
        self.answering.hand_over(&lease, &worked).await;
        Ok(next)
    }

    /// Passes on what there is, and decides what to do about a room that nobody works in.
    async fn look(&mut self) -> Result<Option<Step>> {
        if self.slot.is_lost() {
            return Ok(None);
        }
        let WakeUp { user_id, chatroom_id } = self.room;
        let database = self.answering.database();
        let Some(look) = messages::look(database, user_id, chatroom_id, self.events.position).await? else {
            return Ok(None); // the room is gone
        };
        let is_over = if look.is_free { self.has_sent() } else { self.show(&look) };
        if is_over || Instant::now() >= self.until {
            return Ok(None);
        }
        Ok(Some(if look.is_free { Step::Claim } else { Step::Pause }))
    }

    /// Returns whether the client already has text; another worker's must not be appended.
    fn has_sent(&self) -> bool {
        self.has_started && self.events.position.characters > 0
    }

    /// Works on the message of a lease, and passes on what is written if it is this connection's.
    async fn work(&mut self, lease: &Lease) -> Result<Worked> {
        let draft = Draft::default();
        let mut work = pin!(self.answering.work(lease, &draft));
        if lease.message != self.message.id {
            // The client is told at once which message it waits for, and can stop it.
            self.start(Status::Queued);
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
            let text = &written.borrow_and_update().text;
            self.events.text(text.get(sent..).unwrap_or_default());
            sent = text.len();
            if let Some(worked) = worked {
                return Ok(worked);
            }
        }
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
