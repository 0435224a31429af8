//! Carries wake-ups over Redis (6.2 and later, Valkey).
//!
//! A sorted set holds the wake-ups that are not due yet, by their time. Another one holds those that are due, by their
//! turn: a user's wake-ups get successive turns, beginning with the current one, so that each user has one wake-up in
//! each turn and nobody waits for another user's backlog.
//!
//! Receiving a wake-up puts it back into the first set, due again after [`VISIBILITY`]; acknowledging removes it. So
//! the wake-ups of a consumer that crashed come again. A list beside the sets lets consumers sleep until one is due.
//!
//! Scripts may run twice when a connection is lost: a wake-up received by a lost response comes again after
//! [`VISIBILITY`], and adding or removing the same member twice changes nothing.

use std::{sync::LazyLock, time::Duration};

use redis::{Script, cmd};
use uuid::Uuid;

use super::{Delivery, WakeUp};
use crate::{config::ConfigError, error::Source, redis::Redis as Connection};

/// After this long without an acknowledgement, a wake-up comes again.
const VISIBILITY: Duration = Duration::from_secs(30);

/// Limits how long a receive waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// Wake-ups by the time they are due. All keys are in one slot of a cluster.
const WAKE_UPS: &str = "{wake-ups}";
/// Wake-ups that are due, by their turn.
const TURNS: &str = "{wake-ups}:turns";
/// The newest turn of each user who has a wake-up among those, and in the field `now` the current turn.
const USERS: &str = "{wake-ups}:users";
const BELL: &str = "{wake-ups}:bell";
const DEAD: &str = "{wake-ups}:dead";

/// Adds wake-ups, due after a delay in milliseconds, and rings the bell if that is now.
static SEND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
         local due_ms = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
         for i = 2, #ARGV do
             redis.call('ZADD', KEYS[1], due_ms, ARGV[i])
         end
         if tonumber(ARGV[1]) == 0 then
             redis.call('LPUSH', KEYS[2], 1)
             redis.call('LTRIM', KEYS[2], 0, 99)
         end",
    )
});

/// Gives a turn to what has become due, takes the next turns and puts their wake-ups off by the visibility time.
/// Returns those, and how many milliseconds until the next one is due. Bodies that cannot be read share one user.
static RECEIVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r#"local time = redis.call('TIME')
         local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
         local current = tonumber(redis.call('HGET', KEYS[3], 'now') or 0)
         local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, 1000)
         for _, member in ipairs(due) do
             local user = string.match(member, '"user_id":"([^"]+)"') or 'nobody'
             local last = tonumber(redis.call('HGET', KEYS[3], user) or -1)
             local turn = math.max(current, last + 1)
             redis.call('HSET', KEYS[3], user, turn)
             redis.call('ZADD', KEYS[2], turn, member)
             redis.call('ZREM', KEYS[1], member)
         end
         local taken = redis.call('ZPOPMIN', KEYS[2], ARGV[1])
         local members = {}
         for i = 1, #taken, 2 do
             members[#members + 1] = taken[i]
             redis.call('ZADD', KEYS[1], now_ms + ARGV[2], taken[i])
             redis.call('HSET', KEYS[3], 'now', taken[i + 1])
         end
         if redis.call('EXISTS', KEYS[2]) == 0 then
             redis.call('DEL', KEYS[3])
         end
         local next = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
         return {members, next[2] and math.max(0, next[2] - now_ms) or ARGV[2]}"#,
    )
});

/// Removes a wake-up, which may have become due again.
static REMOVE: LazyLock<Script> =
    LazyLock::new(|| Script::new("redis.call('ZREM', KEYS[1], ARGV[1]) redis.call('ZREM', KEYS[2], ARGV[1])"));

/// Moves a wake-up that cannot be read to the dead ones, of which the newest thousand are kept.
static REJECT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('ZREM', KEYS[1], ARGV[1]) + redis.call('ZREM', KEYS[2], ARGV[1]) > 0 then
             redis.call('LPUSH', KEYS[3], ARGV[1])
             redis.call('LTRIM', KEYS[3], 0, 999)
         end",
    )
});

pub(super) struct Redis {
    sender: Connection,
    /// A connection of its own, since a receive blocks it.
    receiver: Connection,
}

impl Redis {
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self { sender: Connection::from_env(Duration::ZERO)?, receiver: Connection::from_env(PATIENCE)? })
    }

    pub async fn send(&self, wake_ups: &[WakeUp], delay: Duration) -> Result<(), Source> {
        let delay_ms = u64::try_from(delay.as_millis())?;
        let mut script = SEND.key(WAKE_UPS);
        script.key(BELL).arg(delay_ms);
        for wake_up in wake_ups {
            // The id makes every wake-up a member of its own.
            let id = Uuid::now_v7();
            script.arg(format!("{id} {}", serde_json::to_string(wake_up)?));
        }
        Ok(self.sender.run(&script).await?)
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
        script.key(TURNS).key(USERS).arg(max).arg(visibility_ms);
        let (members, next_ms): (Vec<String>, u64) = self.receiver.run(&script).await?;
        Ok((members.into_iter().map(delivery).collect(), next_ms))
    }

    pub async fn acknowledge(&self, delivery: &Delivery) -> Result<(), Source> {
        let mut script = REMOVE.key(WAKE_UPS);
        script.key(TURNS).arg(&delivery.handle);
        Ok(self.sender.run(&script).await?)
    }

    pub async fn reject(&self, delivery: &Delivery) -> Result<(), Source> {
        let mut script = REJECT.key(WAKE_UPS);
        script.key(TURNS).key(DEAD).arg(&delivery.handle);
        Ok(self.sender.run(&script).await?)
    }
}

fn delivery(member: String) -> Delivery {
    let body = member.split_once(' ').map_or("", |(_, body)| body);
    Delivery { body: body.to_owned(), handle: member }
}
