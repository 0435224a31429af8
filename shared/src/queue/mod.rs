//! Wakes the workers that reply to messages. The queue holds no work.
//!
//! A wake-up names a room that may have work. It may be lost, come twice, late or out of order: the consumer asks
//! Postgres, and the sweep wakes rooms whose wake-up was lost. So a wake-up that cannot be sent is logged, and is no
//! error to the caller.
//!
//! One user's backlog must not delay the others. SQS ensures that by fair queueing, the Redis queue by turns.
//!
//! The contract, for every adapter:
//! - a wake-up is received at least once, after its delay, by one of any number of consumers;
//! - one that was received but not acknowledged, because its consumer crashed, is received again;
//! - one that was acknowledged is not received again, unless the queue fails;
//! - one that is rejected is kept for inspection, and blocks nothing.

mod redis;
mod sqs;

use std::{fmt, time::Duration};

use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use tracing::warn;

use crate::{
    config::{self, ConfigError},
    domain::{ChatroomId, UserId},
    error::Source,
    telemetry::Chain,
};

/// The whole content of a queue message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WakeUp {
    /// The room's owner.
    pub user_id: UserId,
    /// The room that may have work.
    pub chatroom_id: ChatroomId,
}

/// The longest delay a queue accepts. The sweep wakes rooms whose work is due later.
pub const MAX_DELAY: Duration = Duration::from_mins(15);

/// Limits the wake-ups of one receive, and of one send.
const MAX_BATCH: usize = 10;

/// Limits the batches that are sent at a time.
const CONCURRENCY: usize = 8;

/// A received queue message that is not acknowledged yet.
#[derive(Debug)]
pub struct Delivery {
    body: String,
    /// Identifies it to the queue.
    handle: String,
}

impl Delivery {
    /// Parses the wake-up that it carries.
    ///
    /// # Errors
    /// When its body is no wake-up.
    pub fn wake_up(&self) -> Result<WakeUp, serde_json::Error> {
        serde_json::from_str(&self.body)
    }
}

/// The queue that `QUEUE` names.
pub struct Queue(Backend);

enum Backend {
    Sqs(sqs::Sqs),
    Redis(Box<redis::Redis>),
}

/// The values of `QUEUE`.
#[derive(Debug, Clone, Copy)]
pub enum Choice {
    /// `sqs`: the queue at `QUEUE_URL`.
    Sqs,
    /// `redis`: the server at `REDIS_URL`.
    Redis,
}

impl Queue {
    /// Configures the queue that the environment describes. Nothing is opened yet.
    ///
    /// # Errors
    /// When `QUEUE` is no known choice, or a variable of the chosen queue is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        let choices = [("sqs", Choice::Sqs), ("redis", Choice::Redis)];
        Self::open(config::choice("QUEUE", &choices)?.unwrap_or(Choice::Sqs))
    }

    /// Configures the chosen queue from its variables.
    ///
    /// # Errors
    /// When a variable of it is missing or malformed.
    pub fn open(choice: Choice) -> Result<Self, ConfigError> {
        Ok(Self(match choice {
            Choice::Sqs => Backend::Sqs(sqs::Sqs::from_env()?),
            Choice::Redis => Backend::Redis(Box::new(redis::Redis::from_env()?)),
        }))
    }

    /// Wakes a room now, and returns whether the wake-up was sent.
    pub async fn wake(&self, chatroom: ChatroomId, user: UserId) -> bool {
        self.wake_after(Duration::ZERO, chatroom, user).await
    }

    /// Wakes a room later: after `delay`, or after [`MAX_DELAY`] if that is sooner. Returns whether the wake-up was
    /// sent.
    pub async fn wake_after(&self, delay: Duration, chatroom: ChatroomId, user: UserId) -> bool {
        let wake_up = WakeUp { user_id: user, chatroom_id: chatroom };
        let delay = delay.min(MAX_DELAY);
        let sent = match &self.0 {
            Backend::Sqs(queue) => queue.send(&wake_up, delay).await,
            Backend::Redis(queue) => queue.send(&[wake_up], delay).await,
        };
        if let Err(error) = &sent {
            warn!(%chatroom, error = %Chain(&**error), "a wake-up was not sent; the sweep will wake the room");
        }
        sent.is_ok()
    }

    /// Wakes rooms now. Begins no further batch after `time`, and returns the rooms whose wake-ups were sent.
    pub async fn wake_all(&self, rooms: &[WakeUp], time: Duration) -> Vec<WakeUp> {
        stream::iter(rooms.chunks(MAX_BATCH))
            .take_until(sleep(time))
            .map(|batch| self.wake_batch(batch))
            .buffer_unordered(CONCURRENCY)
            .concat()
            .await
    }

    async fn wake_batch(&self, batch: &[WakeUp]) -> Vec<WakeUp> {
        let sent = match &self.0 {
            Backend::Sqs(queue) => queue.send_batch(batch).await,
            Backend::Redis(queue) => {
                let sent = queue.send(batch, Duration::ZERO).await;
                sent.map(|()| batch.to_vec())
            }
        };
        sent.unwrap_or_else(|error| {
            warn!(error = %Chain(&*error), "a batch of wake-ups was not sent");
            Vec::new()
        })
    }

    /// Waits up to `patience`, at most 20 seconds, for wake-ups, and returns a few of them.
    ///
    /// # Errors
    /// When the queue does not respond.
    pub async fn receive(&self, patience: Duration) -> Result<Vec<Delivery>, Source> {
        match &self.0 {
            Backend::Sqs(queue) => queue.receive(MAX_BATCH, patience).await,
            Backend::Redis(queue) => queue.receive(MAX_BATCH, patience).await,
        }
    }

    /// Acknowledges a delivery, so that it is not received again.
    ///
    /// # Errors
    /// When the queue does not respond; the wake-up may then come again.
    pub async fn acknowledge(&self, delivery: &Delivery) -> Result<(), Source> {
        match &self.0 {
            Backend::Sqs(queue) => queue.acknowledge(delivery).await,
            Backend::Redis(queue) => queue.acknowledge(delivery).await,
        }
    }

    /// Moves a delivery that can never be read to the dead letters.
    ///
    /// # Errors
    /// When the queue does not respond.
    pub async fn reject(&self, delivery: &Delivery) -> Result<(), Source> {
        match &self.0 {
            // SQS moves what keeps coming back to the dead-letter queue by itself.
            Backend::Sqs(_) => Ok(()),
            Backend::Redis(queue) => queue.reject(delivery).await,
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.0 {
            Backend::Sqs(_) => "Queue(sqs)",
            Backend::Redis(_) => "Queue(redis)",
        })
    }
}
