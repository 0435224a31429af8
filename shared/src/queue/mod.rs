//! Wakes up whoever answers messages. The queue holds no work.
//!
//! A wake-up says which room has something to do. It may be lost, come twice, late or out of order: the consumer asks
//! Postgres, and the sweep wakes rooms whose wake-up was lost. So a wake-up that cannot be sent is no error to the
//! caller; it is logged.
//!
//! One user's backlog must not delay the others. SQS sees to that by its fair queueing, the Redis queue by turns.
//!
//! The contract, for every adapter:
//! - a wake-up is received at least once, after its delay, by one of any number of consumers;
//! - one that was received but not acknowledged, because its consumer crashed, is received again;
//! - one that was acknowledged is not, short of a failure;
//! - one that is rejected ends where somebody can look at it, and blocks nothing.

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
    /// The room in which there may be something to do.
    pub chatroom_id: ChatroomId,
}

/// The longest delay a queue accepts. The sweep takes care of whatever is later.
pub const MAX_DELAY: Duration = Duration::from_mins(15);

/// The most that one receive returns, and that are sent at once.
const MAX_BATCH: usize = 10;

/// How many batches are sent at a time.
const CONCURRENCY: usize = 8;

/// A queue message that was received and waits for its acknowledgement.
#[derive(Debug)]
pub struct Delivery {
    body: String,
    /// What the queue knows it by.
    handle: String,
}

impl Delivery {
    /// The wake-up it carries.
    ///
    /// # Errors
    /// When it carries none.
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
    /// The queue that the environment describes. Nothing is opened yet.
    ///
    /// # Errors
    /// When `QUEUE` is no known choice, or a variable of the chosen queue is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        let choices = [("sqs", Choice::Sqs), ("redis", Choice::Redis)];
        Self::open(config::choice("QUEUE", &choices)?.unwrap_or(Choice::Sqs))
    }

    /// The chosen queue, as the environment describes it.
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

    /// Wakes rooms now, for as long as `time` and what is under way then takes. Returns those whose wake-ups were sent.
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
    /// When the queue does not answer.
    pub async fn receive(&self, patience: Duration) -> Result<Vec<Delivery>, Source> {
        match &self.0 {
            Backend::Sqs(queue) => queue.receive(MAX_BATCH, patience).await,
            Backend::Redis(queue) => queue.receive(MAX_BATCH, patience).await,
        }
    }

    /// Says that a delivery was taken care of.
    ///
    /// # Errors
    /// When the queue does not answer; the wake-up may then come again.
    pub async fn acknowledge(&self, delivery: &Delivery) -> Result<(), Source> {
        match &self.0 {
            Backend::Sqs(queue) => queue.acknowledge(delivery).await,
            Backend::Redis(queue) => queue.acknowledge(delivery).await,
        }
    }

    /// Says that a delivery cannot be read, now or ever: it ends among the dead letters.
    ///
    /// # Errors
    /// When the queue does not answer.
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
