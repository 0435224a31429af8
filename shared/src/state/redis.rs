//! Keeps state in Redis: each operation is one script, so it is atomic, and Redis removes what has expired.
//!
//! A script may run twice when a connection is lost. The second run of a write meets the first one and reports "not
//! done", and a count may count twice: the safe side for codes and limits.

use std::{sync::LazyLock, time::Duration};

use redis::{FromRedisValue, Script, ScriptInvocation};

use super::Count;
use crate::{Error, Result, config::ConfigError, redis::Redis as Connection};

macro_rules! script {
    ($name:ident, $source:literal) => {
        static $name: LazyLock<Script> = LazyLock::new(|| Script::new($source));
    };
}

script!(GET, "return redis.call('GET', KEYS[1])");

script!(PUT_IF_ABSENT, "return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0");

script!(
    REPLACE_IF,
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
     redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
     return 1"
);

script!(
    REMOVE_IF,
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
     return redis.call('DEL', KEYS[1])"
);

script!(REMOVE, "redis.call('DEL', KEYS[1])");

script!(
    COUNT,
    "local times = tonumber(redis.call('GET', KEYS[1]) or 0)
     local limit, window_ms = tonumber(ARGV[1]), tonumber(ARGV[2])
     if limit == 0 then return window_ms end
     if times >= limit then return redis.call('PTTL', KEYS[1]) end
     if redis.call('INCR', KEYS[1]) == 1 and redis.call('PTTL', KEYS[1]) < 0 then
       redis.call('PEXPIRE', KEYS[1], window_ms)
     end
     return -1"
);

script!(GIVE_BACK, "if tonumber(redis.call('GET', KEYS[1]) or 0) > 0 then redis.call('DECR', KEYS[1]) end");

pub(super) struct Redis(Connection);

impl Redis {
    pub fn from_env() -> Result<Self, ConfigError> {
        Connection::from_env(Duration::ZERO).map(Self)
    }

    pub async fn get(&self, key: &str) -> Result<Option<String>> {
        self.run(&GET.key(name(key))).await
    }

    pub async fn put_if_absent(&self, key: &str, value: &str, ttl: Duration) -> Result<bool> {
        self.run(PUT_IF_ABSENT.key(name(key)).arg(value).arg(milliseconds(ttl))).await
    }

    pub async fn replace_if(&self, key: &str, expected: &str, value: &str, ttl: Duration) -> Result<bool> {
        let mut script = REPLACE_IF.key(name(key));
        self.run({ script }.arg(expected).arg(value).arg(milliseconds(ttl))).await
    }

    pub async fn remove_if(&self, key: &str, expected: &str) -> Result<bool> {
        self.run(REMOVE_IF.key(name(key)).arg(expected)).await
    }

    pub async fn remove(&self, key: &str) -> Result<()> {
        self.run(&REMOVE.key(name(key))).await
    }

    pub async fn count(&self, key: &str, limit: u32, window: Duration) -> Result<Count> {
        let mut script = COUNT.key(name(key));
        let wait_ms: i64 = self.run(script.arg(limit).arg(milliseconds(window))).await?;
        Ok(match u64::try_from(wait_ms) {
            Ok(wait_ms) => Count::Over(Duration::from_millis(wait_ms)),
            Err(_) => Count::Within,
        })
    }

    pub async fn give_back(&self, key: &str) -> Result<()> {
        self.run(&GIVE_BACK.key(name(key))).await
    }

    async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T> {
        self.0.run(script).await.map_err(Error::unavailable)
    }
}

/// Names a key apart from the queue's, which may share the server.
fn name(key: &str) -> String {
    format!("state:{key}")
}

fn milliseconds(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}
