//! Wake-ups over Redis (6.2 and later, Valkey): a sorted set of wake-ups by the time they are due.
//!
//! Receiving does not remove a wake-up but moves its time into the future; acknowledging removes it. So a consumer that
//! crashes leaves wake-ups that come again. A list beside the set lets consumers sleep until something is due.
//!
//! Scripts may run twice when a connection is lost: a wake-up received by a lost answer comes again after
//! [`VISIBILITY`], and adding or removing the same member twice changes nothing.

use std::{sync::LazyLock, time::Duration};

use redis::{Script, cmd};
use uuid::Uuid;

use super::{Delivery, WakeUp};
use crate::{config::ConfigError, error::Source, redis::Redis as Connection};

/// After this long without an acknowledgement, a wake-up comes again.
const VISIBILITY: Duration = Duration::from_secs(30);

/// The longest that a receive waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// All keys are in one slot of a cluster.
const WAKE_UPS: &str = "{wake-ups}";
const BELL: &str = "{wake-ups}:bell";
const DEAD: &str = "{wake-ups}:dead";

/// Adds a wake-up, due after a delay in milliseconds, and rings the bell if that is now.
static SEND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
         local due_ms = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2]
         redis.call('ZADD', KEYS[1], due_ms, ARGV[1])
         if tonumber(ARGV[2]) == 0 then
             redis.call('LPUSH', KEYS[2], 1)
             redis.call('LTRIM', KEYS[2], 0, 99)
         end",
    )
});

/// Returns what is due and puts it off by the visibility time; and how many milliseconds until the next one is due.
static RECEIVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
         local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
         local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, ARGV[1])
         for _, member in ipairs(due) do
             redis.call('ZADD', KEYS[1], now_ms + ARGV[2], member)
         end
         local next = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
         return {due, next[2] and math.max(0, next[2] - now_ms) or ARGV[2]}",
    )
});

/// Moves a wake-up that cannot be read to the dead ones, of which the newest thousand are kept.
static REJECT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('ZREM', KEYS[1], ARGV[1]) == 1 then
             redis.call('LPUSH', KEYS[2], ARGV[1])
             redis.call('LTRIM', KEYS[2], 0, 999)
         end",
    )
});

pub(super) struct Redis {
    sender: Connection,
    /// Apart, since a receive blocks its connection.
    receiver: Connection,
}

impl Redis {
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            sender: Connection::from_env(Duration::ZERO)?,
            receiver: Connection::from_env(PATIENCE)?,
        })
    }

    pub async fn send(&self, wake_up: &WakeUp, delay: Duration) -> Result<(), Source> {
        // The id makes every wake-up a member of its own.
        let member = format!("{} {}", Uuid::now_v7(), serde_json::to_string(wake_up)?);
        let delay_ms = u64::try_from(delay.as_millis())?;
        let mut script = SEND.key(WAKE_UPS);
        Ok(self
            .sender
            .run(script.key(BELL).arg(member).arg(delay_ms))
            .await?)
    }

    /// Waits up to `patience` for at least one wake-up.
    pub async fn receive(&self, max: usize, patience: Duration) -> Result<Vec<Delivery>, Source> {
        let (due, next_ms) = self.due(max).await?;
        if !due.is_empty() {
            return Ok(due);
        }
        let wait = Duration::from_millis(next_ms).min(patience).min(PATIENCE);
        let mut bell = cmd("BLPOP");
        // Zero would mean for ever.
        bell.arg(BELL).arg(wait.as_secs_f64().max(0.01));
        let _rang: Option<(String, String)> = self.receiver.command(&bell).await?;
        Ok(self.due(max).await?.0)
    }

    async fn due(&self, max: usize) -> Result<(Vec<Delivery>, u64), Source> {
        let visibility_ms = u64::try_from(VISIBILITY.as_millis())?;
        let mut script = RECEIVE.key(WAKE_UPS);
        let (members, next_ms): (Vec<String>, u64) = self
            .receiver
            .run(script.arg(max).arg(visibility_ms))
            .await?;
        Ok((members.into_iter().map(delivery).collect(), next_ms))
    }

    pub async fn acknowledge(&self, delivery: &Delivery) -> Result<(), Source> {
        let mut remove = cmd("ZREM");
        Ok(self
            .sender
            .command(remove.arg(WAKE_UPS).arg(&delivery.handle))
            .await?)
    }

    pub async fn reject(&self, delivery: &Delivery) -> Result<(), Source> {
        let mut script = REJECT.key(WAKE_UPS);
        Ok(self
            .sender
            .run(script.key(DEAD).arg(&delivery.handle))
            .await?)
    }
}

fn delivery(member: String) -> Delivery {
    let body = member.split_once(' ').map_or("", |(_, body)| body);
    Delivery {
        body: body.to_owned(),
        handle: member,
    }
}
