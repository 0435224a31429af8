//! Replies to messages: claims a room, asks the model, settles the message.
//!
//! One room has one worker, and its messages are answered in order. A worker claims the room with a lease and a
//! fencing number, the epoch; every later write carries the epoch and does nothing once it is stale. While the model
//! writes, the worker stores a checkpoint every second: it prolongs the lease, keeps the draft, and learns of a stop. A
//! worker that dies leaves a lease that ends soon, and a message that the next claim finds.
//!
//! A worker replies to one message and then wakes the room again, behind all others, if more wait. So the queue decides
//! who is next, however many messages one room or one user has waiting.
//!
//! The consumer of the queue calls [`answer`](Answering::answer). An endpoint that passes the reply on while it is
//! written calls [`claim`](Answering::claim), [`work`](Answering::work) and [`hand_over`](Answering::hand_over).

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::{error, info, warn};

pub use crate::gemini::{Draft, Written};
use crate::{
    config::{self, ConfigError},
    database::{self, Database},
    domain::{Message, is_visible},
    gemini::{Gemini, Model, Outcome, Trouble},
    messages::{Claim, End, Lease, Settled, Terms},
    queue::{Queue, WakeUp},
    telemetry::Chain,
};

type Result<T> = std::result::Result<T, database::Error>;

/// How often a worker stores a checkpoint; more often if the lease is shorter than twice this.
const CHECKPOINT_PERIOD: Duration = Duration::from_secs(1);

/// How many workers may die with a message before it is given up.
const MAX_LOST: i32 = 8;

/// How often a message may run into our own timeout: who waits for it has waited long enough.
const MAX_TIMEOUTS: usize = 2;

/// How often a message may get a blank reply.
const MAX_BLANKS: usize = 3;

/// The delay before the first further try; it doubles with every one.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_mins(1);

/// Replies to the messages of rooms.
pub struct Answering {
    database: Database,
    queue: Queue,
    gemini: Gemini,
    terms: Terms,
}

/// What became of a worker's message.
pub enum Fate {
    /// The message is answered or failed.
    Settled(Box<Message>),
    /// The message waits for another try.
    Deferred,
    /// Another worker has the room, or the room is gone. Nothing was stored.
    Lost,
}

/// What a worker leaves behind.
pub struct Worked {
    /// What became of its message.
    pub fate: Fate,
    /// When the room has to be woken, for this message or a later one. Nothing, when nothing waits.
    pub wake_after: Option<Duration>,
}

impl Answering {
    /// Replies to the rooms in `database`, as the environment describes. Nothing is opened yet.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn from_env(database: Database) -> std::result::Result<Self, ConfigError> {
        let seconds = |name, default| config::or_default(name, default).map(Duration::from_secs);
        Ok(Self {
            database,
            queue: Queue::from_env()?,
            gemini: Gemini::from_env()?,
            terms: Terms {
                lease: seconds("ANSWER_LEASE_SECONDS", 20)?,
                deadline: seconds("MESSAGE_DEADLINE_SECONDS", 900)?,
                history_tokens: config::or_default("HISTORY_TOKENS", 32_000)?,
            },
        })
    }

    /// The database that holds the rooms.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Replies to the oldest message of a room, if one is due and nobody else is at it. A panic ends only this room's
    /// work: the room is woken again when the lease is over.
    ///
    /// # Errors
    /// When Postgres fails. The room stays as it is, and a later wake-up goes on from there.
    pub async fn answer(&self, room: WakeUp) -> Result<()> {
        if let Some(result) = contained(self.answer_one(room)).await {
            return result;
        }
        // The sweep counts the users to whom this happens, for an alarm. This line says why.
        error!(metric = "room_panicked", room = %room.chatroom_id, "a worker panicked");
        let lease = self.terms.lease;
        self.queue.wake_after(lease, room.chatroom_id, room.user_id).await;
        Ok(())
    }

    async fn answer_one(&self, room: WakeUp) -> Result<()> {
        if let Some(lease) = self.claim(room).await? {
            let worked = self.work(&lease, &Draft::default()).await?;
            self.hand_over(&lease, &worked).await;
        }
        Ok(())
    }

    /// Claims a room with its oldest message, unless nothing is due there or somebody else holds it.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn claim(&self, room: WakeUp) -> Result<Option<Lease>> {
        loop {
            match Claim::attempt(&self.database, room, &self.terms).await? {
                Claim::Nothing => return Ok(None),
                // It had to wait for the room, and what it was about to do is done. Look again.
                Claim::Outdated => {}
                Claim::Held(lease) => return Ok(Some(*lease)),
            }
        }
    }

    /// Asks the model and settles the message. Meanwhile the reply grows in `draft`, which a caller can subscribe to;
    /// at the end it is exactly the reply that was stored, unless the message failed or was deferred.
    ///
    /// Whoever drops this future leaves the room as if its worker had died.
    ///
    /// # Errors
    /// When Postgres fails. The room stays as it is until the lease is over.
    pub async fn work(&self, lease: &Lease, draft: &Draft) -> Result<Worked> {
        if lease.is_to_stop {
            draft.send_replace(Written::text(lease.draft.clone()));
            return self.stop(lease, draft).await;
        }
        if lease.lost >= MAX_LOST {
            return self.fail(lease, draft, "GIVEN_UP", "its workers died").await;
        }
        if lease.deadline <= Instant::now() {
            return self.fail(lease, draft, "MODEL_UNAVAILABLE", "past its deadline").await;
        }
        if lease.is_beyond_budget {
            info!(message_id = %lease.message, "the day's tokens are used up");
            return self.settle_failed(lease, draft, "DAILY_TOKENS").await;
        }
        let outcome = tokio::select! {
            outcome = self.ask(lease, draft) => outcome,
            interruption = self.checkpoint_until_interrupted(lease, draft) => return match interruption? {
                Interruption::Stopped => self.stop(lease, draft).await,
                Interruption::Lost => Ok(lost(lease)),
            },
        };
        match outcome {
            Outcome::Finished(finish_reason) => self.settle(lease, draft, finish_reason).await,
            Outcome::Refused(reason) => {
                info!(message_id = %lease.message, reason, "refused");
                self.settle_failed(lease, draft, &reason).await
            }
            Outcome::Blank(reason) if lease.deferred_for(Trouble::Blank) + 1 >= MAX_BLANKS => {
                info!(message_id = %lease.message, reason, "blank");
                self.settle_failed(lease, draft, &reason).await
            }
            Outcome::Blank(reason) => self.defer(lease, draft, Trouble::Blank, Duration::ZERO, &reason).await,
            Outcome::Rejected(reason) => self.fail(lease, draft, "REJECTED", &reason).await,
            Outcome::NoSuchModel(reason) => self.fail(lease, draft, "MODEL_UNAVAILABLE", &reason).await,
            Outcome::Exhausted(reason) => self.fail(lease, draft, "MODEL_QUOTA", &reason).await,
            Outcome::Deferred { trouble: Trouble::Timeout, reason, .. }
                if lease.deferred_for(Trouble::Timeout) + 1 >= MAX_TIMEOUTS =>
            {
                self.fail(lease, draft, "MODEL_UNAVAILABLE", &reason).await
            }
            Outcome::Deferred { trouble, retry_after, reason } => {
                let retry_after = retry_after.unwrap_or_default();
                self.defer(lease, draft, trouble, retry_after, &reason).await
            }
        }
    }

    /// Asks a model, and at once the other one when that model is gone, or used up for the day: quotas are per model.
    async fn ask(&self, lease: &Lease, draft: &Draft) -> Outcome {
        let first = model(lease);
        let outcome = self.gemini.ask(first, &lease.history, &lease.prompt, draft).await;
        match (&outcome, self.gemini.other(first)) {
            (Outcome::Exhausted(reason) | Outcome::NoSuchModel(reason), Some(other)) => {
                warn!(metric = "model_unavailable", model = self.gemini.name(first), reason, "asking the other model");
                self.gemini.ask(other, &lease.history, &lease.prompt, draft).await
            }
            _ => outcome,
        }
    }

    /// Wakes the room for what its worker has left. When neither the queue nor Postgres can be told, the sweep wakes it
    /// later.
    pub async fn hand_over(&self, lease: &Lease, worked: &Worked) {
        let Some(delay) = worked.wake_after else {
            return;
        };
        let (room, user) = (lease.chatroom, lease.user);
        if self.queue.wake_after(delay, room, user).await {
            return;
        }
        if let Err(error) = lease.leave_to_the_sweep(&self.database).await {
            warn!(%room, error = %Chain(&error), "a wake-up is lost, and the sweep may make up for it late");
        }
    }

    /// Stores a checkpoint every second, until the reply is to stop or the room is lost.
    async fn checkpoint_until_interrupted(&self, lease: &Lease, draft: &Draft) -> Result<Interruption> {
        let period = CHECKPOINT_PERIOD.min(self.terms.lease / 2);
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let text = draft.borrow().text.clone();
            match lease.checkpoint(&self.database, self.terms.lease, &text).await? {
                Some(false) => {}
                Some(true) => return Ok(Interruption::Stopped),
                None => return Ok(Interruption::Lost),
            }
        }
    }

    async fn settle(&self, lease: &Lease, draft: &Draft, finish_reason: String) -> Result<Worked> {
        info!(message_id = %lease.message, finish_reason, "answered");
        self.end(lease, draft, End::Answered { finish_reason }).await
    }

    /// Ends a message where its reply is to stop.
    async fn stop(&self, lease: &Lease, draft: &Draft) -> Result<Worked> {
        if !is_visible(&draft.borrow().text) {
            info!(message_id = %lease.message, "stopped before the first word");
            return self.settle_failed(lease, draft, "STOPPED").await;
        }
        draft.send_if_modified(|written| {
            written.model.get_or_insert_with(|| self.gemini.name(model(lease)).to_owned());
            false
        });
        self.settle(lease, draft, "STOPPED".to_owned()).await
    }

    /// Fails a message through a fault that somebody must look at.
    async fn fail(&self, lease: &Lease, draft: &Draft, reason: &str, cause: &str) -> Result<Worked> {
        // The sweep counts the users to whom this happens, for an alarm. This line says why.
        error!(metric = "message_failed", message_id = %lease.message, reason, cause, "failed");
        self.settle_failed(lease, draft, reason).await
    }

    async fn settle_failed(&self, lease: &Lease, draft: &Draft, reason: &str) -> Result<Worked> {
        self.end(lease, draft, End::Failed { reason: reason.to_owned() }).await
    }

    async fn end(&self, lease: &Lease, draft: &Draft, end: End) -> Result<Worked> {
        let written = draft.borrow().clone();
        let settled = lease.settle(&self.database, end, written).await?;
        Ok(settled.map_or_else(|| lost(lease), Worked::from))
    }

    /// Puts a message off until after `retry_after`.
    async fn defer(
        &self,
        lease: &Lease,
        draft: &Draft,
        trouble: Trouble,
        retry_after: Duration,
        reason: &str,
    ) -> Result<Worked> {
        let delay = delay(lease.asked, retry_after);
        let left = lease.deadline.saturating_duration_since(Instant::now());
        if delay >= left {
            return self.fail(lease, draft, "MODEL_UNAVAILABLE", reason).await;
        }
        warn!(message_id = %lease.message, reason, ?delay, "deferred");
        let written = draft.borrow().clone();
        let deferred = lease.defer(&self.database, delay, trouble, &written).await?;
        Ok(deferred.map_or_else(|| lost(lease), |delay| Worked { fate: Fate::Deferred, wake_after: Some(delay) }))
    }
}

/// Runs work to its end, or returns nothing when it panics.
async fn contained<T>(work: impl Future<Output = T>) -> Option<T> {
    // What the work had in its hands is dropped, and the connections outlive a statement that is given up.
    AssertUnwindSafe(work).catch_unwind().await.ok()
}

/// Why a worker stops asking.
enum Interruption {
    Stopped,
    Lost,
}

impl From<Settled> for Worked {
    fn from(settled: Settled) -> Self {
        Self { fate: Fate::Settled(Box::new(settled.message)), wake_after: settled.more_wait.then_some(Duration::ZERO) }
    }
}

/// Chooses the model to ask: the fallback, once the usual one was overloaded twice.
fn model(lease: &Lease) -> Model {
    if lease.deferred_for(Trouble::Overload) < 2 { Model::Usual } else { Model::Fallback }
}

fn lost(lease: &Lease) -> Worked {
    warn!(message_id = %lease.message, "the room was taken over; its reply is dropped");
    Worked { fate: Fate::Lost, wake_after: None }
}

/// How long to wait after the model was asked `asked` times: exponentially longer, no less than `retry_after`, and with
/// a random part so that messages deferred together do not come back together.
fn delay(asked: i32, retry_after: Duration) -> Duration {
    let doublings = u32::try_from(asked - 1).unwrap_or_default().min(16);
    let backoff = (FIRST_BACKOFF * 2_u32.pow(doublings)).min(LONGEST_BACKOFF);
    let random = getrandom::u32().map_or(0.5, |n| f64::from(n) / f64::from(u32::MAX));
    let least = retry_after.max(backoff / 2);
    least.saturating_add((backoff / 2).mul_f64(random))
}

#[cfg(test)]
mod tests {
    //! The waits between tries. The protocol itself is tested where it can break: over HTTP, with killed workers.

    use super::*;

    #[test]
    fn a_worker_may_move_between_threads() {
        fn check<'a, T: Send>(_: impl Fn(&'a Answering, &'a Lease, &'a Draft) -> T) {}
        check(Answering::work);
    }

    #[test]
    fn waits_grow_and_stay_bounded() {
        for (asked, longest) in [(1, 1), (2, 2), (5, 16), (7, 60), (1000, 60), (i32::MAX, 60)] {
            let longest = Duration::from_secs(longest);
            let wait = delay(asked, Duration::ZERO);
            assert!(wait <= longest && wait >= longest / 2, "{asked}: {wait:?}");
        }
    }

    #[test]
    fn no_wait_is_shorter_than_gemini_asks_for_however_long() {
        for seconds in [0.001, 0.7, 30.0, 1e19] {
            let retry_after = Duration::from_secs_f64(seconds);
            assert!(delay(1, retry_after) >= retry_after);
        }
    }
}
