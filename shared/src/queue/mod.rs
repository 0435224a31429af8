//! The queue: wakes up whoever answers messages. It holds no work.
//!
//! A wake-up says which room has something to do. It may be lost, come twice, late or out of order: the consumer asks
//! Postgres, and the sweep wakes rooms whose wake-up was lost. So a wake-up that cannot be sent is no error to the
//! caller; it is logged.

mod sqs;

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{
    config::{self, ConfigError},
    domain::{ChatroomId, UserId},
    error::Source,
};

/// The whole content of a queue message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeUp {
    /// The room in which there may be something to do.
    pub chatroom_id: ChatroomId,
}

/// The longest delay a queue accepts. The sweep takes care of whatever is later.
pub const MAX_DELAY: Duration = Duration::from_mins(15);

/// The queue that `QUEUE` names.
pub struct Queue(Backend);

enum Backend {
    Sqs(sqs::Sqs),
}

/// The values of `QUEUE`.
enum Choice {
    Sqs,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "sqs" => Ok(Self::Sqs),
            other => Err(format!("{other:?} is not one of: sqs")),
        }
    }
}

impl Queue {
    /// The queue that the environment describes. Nothing is opened yet.
    ///
    /// # Errors
    /// When `QUEUE` is no known choice, or a variable of the chosen queue is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self(match config::or_default("QUEUE", Choice::Sqs)? {
            Choice::Sqs => Backend::Sqs(sqs::Sqs::from_env()?),
        }))
    }

    /// Wakes a room now.
    pub async fn wake(&self, chatroom: ChatroomId, user: UserId) {
        self.wake_after(Duration::ZERO, chatroom, user).await;
    }

    /// Wakes a room later: after `delay`, or after [`MAX_DELAY`] if that is sooner.
    pub async fn wake_after(&self, delay: Duration, chatroom: ChatroomId, user: UserId) {
        if let Err(reason) = self.send(delay.min(MAX_DELAY), chatroom, user).await {
            warn!(%chatroom, %reason, "a wake-up was not sent; the sweep will wake the room");
        }
    }

    async fn send(
        &self,
        delay: Duration,
        chatroom: ChatroomId,
        user: UserId,
    ) -> Result<(), Source> {
        let wake_up = WakeUp {
            chatroom_id: chatroom,
        };
        match &self.0 {
            Backend::Sqs(sqs) => sqs.send(&wake_up, user, delay).await,
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.0 {
            Backend::Sqs(_) => "Queue(sqs)",
        })
    }
}
