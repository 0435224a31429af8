//! Answering a room: claim, ask, settle, until nothing is left to do.
//!
//! One room has one worker, and its messages are answered in order. A worker claims the room with a lease and a
//! fencing number, the epoch; every later write carries the epoch and does nothing once it is stale. A worker that
//! dies leaves a lease that ends soon, and a message that the next claim finds.

mod lease;

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::{error, info, warn};

use crate::{
    config::{self, ConfigError},
    database::{self, Database},
    gemini::{Gemini, Outcome},
    queue::{Queue, WakeUp},
};
use lease::{Claim, Lease};

type Result<T> = std::result::Result<T, database::Error>;

/// The delay before the first further try; it doubles with every one.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_mins(1);

/// Time to settle and hand over, beyond what an answer may take.
const MARGIN: Duration = Duration::from_secs(5);

/// Answers rooms.
pub struct Answering {
    database: Database,
    queue: Queue,
    gemini: Gemini,
    settings: Settings,
}

struct Settings {
    /// How long a claim holds without being renewed.
    lease: Duration,
    /// How long after it was accepted a message may still be tried again.
    deadline: Duration,
    /// The longest history sent with a prompt, in estimated tokens.
    history_tokens: i64,
}

impl Answering {
    /// What the environment describes. Nothing is opened yet.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn from_env() -> std::result::Result<Self, ConfigError> {
        let seconds = |name, default| config::or_default(name, default).map(Duration::from_secs);
        Ok(Self {
            database: Database::from_env()?,
            queue: Queue::from_env()?,
            gemini: Gemini::from_env()?,
            settings: Settings {
                lease: seconds("ANSWER_LEASE_SECONDS", 20)?,
                deadline: seconds("MESSAGE_DEADLINE_SECONDS", 900)?,
                history_tokens: config::or_default("HISTORY_TOKENS", 8_000)?,
            },
        })
    }

    /// Answers what is due in the room of a wake-up, oldest first. Before `until` gets too close for another answer, it
    /// wakes the room for somebody else and returns.
    ///
    /// # Errors
    /// When Postgres fails. The room stays as it is, and a later wake-up goes on from there.
    pub async fn answer(&self, wake_up: WakeUp, until: Instant) -> Result<()> {
        loop {
            match Claim::attempt(&self.database, wake_up, &self.settings).await? {
                Claim::Nothing => return Ok(()),
                // It had to wait for the room, and what it was about to do is done. Look again.
                Claim::Outdated => {}
                Claim::Held(lease) => {
                    self.answer_one(&lease).await?;
                    if until < Instant::now() + self.gemini.timeout() + MARGIN {
                        self.queue.wake(lease.chatroom, lease.user).await;
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn answer_one(&self, lease: &Lease) -> Result<()> {
        let Some(outcome) = self.ask(lease).await? else {
            warn!(message_id = %lease.message, "the room was taken over; its answer is dropped");
            return Ok(());
        };
        match outcome {
            Outcome::Answered(answer) => {
                info!(message_id = %lease.message, finish_reason = answer.finish_reason, "answered");
                lease.settle_answered(&self.database, &answer).await
            }
            Outcome::Refused(reason) => {
                info!(message_id = %lease.message, reason, "refused");
                lease.settle_failed(&self.database, &reason).await
            }
            Outcome::Rejected(reason) => {
                // The alarm counts lines with this metric.
                error!(metric = "message_failed", message_id = %lease.message, reason, "rejected");
                lease.settle_failed(&self.database, "REJECTED").await
            }
            Outcome::Deferred {
                retry_after,
                reason,
            } => {
                let delay = retry_after.unwrap_or_else(|| backoff(lease.asked));
                self.defer(lease, delay, &reason).await
            }
        }
    }

    /// Asks the model and keeps the lease meanwhile. `None` means that the lease was lost.
    async fn ask(&self, lease: &Lease) -> Result<Option<Outcome>> {
        let mut answer = std::pin::pin!(self.gemini.ask(&lease.history, &lease.prompt));
        let period = self.settings.lease / 3;
        let mut renewal = interval_at(Instant::now() + period, period);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                outcome = &mut answer => return Ok(Some(outcome)),
                _ = renewal.tick() => {
                    if !lease.renew(&self.database, self.settings.lease).await? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    async fn defer(&self, lease: &Lease, delay: Duration, reason: &str) -> Result<()> {
        if Instant::now() + delay >= lease.deadline {
            error!(metric = "message_failed", message_id = %lease.message, reason, "given up");
            return lease
                .settle_failed(&self.database, "MODEL_UNAVAILABLE")
                .await;
        }
        warn!(message_id = %lease.message, reason, ?delay, "deferred");
        lease.defer(&self.database, delay).await?;
        self.queue
            .wake_after(delay, lease.chatroom, lease.user)
            .await;
        Ok(())
    }
}

/// How long to wait after the model was asked `asked` times: exponential, with a random half so that messages deferred
/// together do not come back together.
fn backoff(asked: i32) -> Duration {
    let doublings = u32::try_from(asked - 1).unwrap_or_default().min(16);
    let whole = (FIRST_BACKOFF * 2_u32.pow(doublings)).min(LONGEST_BACKOFF);
    let random = getrandom::u32().map_or(0.5, |n| f64::from(n) / f64::from(u32::MAX));
    whole.mul_f64(0.5 + random / 2.0)
}

#[cfg(test)]
mod tests {
    //! The waits between tries. The protocol itself is tested where it can break: over HTTP, with killed workers.

    use super::*;

    #[test]
    fn waits_grow_and_stay_bounded() {
        for (asked, longest) in [(1, 1), (2, 2), (5, 16), (7, 60), (1000, 60), (i32::MAX, 60)] {
            let longest = Duration::from_secs(longest);
            let wait = backoff(asked);
            assert!(wait <= longest && wait >= longest / 2, "{asked}: {wait:?}");
        }
    }
}
