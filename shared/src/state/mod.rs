//! Stores what is short-lived and must be decided atomically: one-time codes, limits and caches.
//!
//! The contract, for every adapter:
//! - each operation is atomic under any concurrency, and reads what was written last;
//! - an item whose time is over counts as absent, whether or not it was removed yet;
//! - a store that does not respond is [`Error::Unavailable`](crate::Error::Unavailable), never "absent" or "allowed".

mod dynamodb;
mod redis;

use std::{fmt, time::Duration};

use crate::{
    Result,
    config::{self, ConfigError},
    error::{Error, OverLimit},
};

/// The store that `STATE` names.
pub struct StateStore(Backend);

enum Backend {
    DynamoDb(dynamodb::DynamoDb),
    Redis(Box<redis::Redis>),
}

/// The values of `STATE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// `dynamodb`: the table named by `STATE_TABLE`.
    DynamoDb,
    /// `redis`: the server at `REDIS_URL`.
    Redis,
}

impl Choice {
    /// Reads `STATE`, by default `dynamodb`.
    ///
    /// # Errors
    /// When it is no known choice.
    pub fn from_env() -> Result<Self, ConfigError> {
        let choices = [("dynamodb", Self::DynamoDb), ("redis", Self::Redis)];
        Ok(config::choice("STATE", &choices)?.unwrap_or(Self::DynamoDb))
    }
}

/// Limits how often something may happen in a window of time, which starts with the first time.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// A short name: `codes-per-number`.
    pub policy: &'static str,
    /// The detail of the 429.
    pub detail: &'static str,
    /// How many times.
    pub times: u32,
    /// The length of the window.
    pub window: Duration,
}

/// Says whether a time was counted.
enum Count {
    /// Counted, within the limit.
    Within,
    /// Not counted, as the limit is reached until the window ends after this time.
    Over(Duration),
}

impl StateStore {
    /// Configures the store that `STATE` names. Nothing is opened yet.
    ///
    /// # Errors
    /// When `STATE` is no known choice, or a variable of the chosen store is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::open(Choice::from_env()?)
    }

    /// Configures the chosen store from its variables.
    ///
    /// # Errors
    /// When a variable of it is missing or malformed.
    pub fn open(choice: Choice) -> Result<Self, ConfigError> {
        Ok(Self(match choice {
            Choice::DynamoDb => Backend::DynamoDb(dynamodb::DynamoDb::from_env()?),
            Choice::Redis => Backend::Redis(Box::new(redis::Redis::from_env()?)),
        }))
    }

    /// Returns the value of `key`, if it has one.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn get(&self, key: &str) -> Result<Option<String>> {
        match &self.0 {
            Backend::DynamoDb(store) => store.get(key).await,
            Backend::Redis(store) => store.get(key).await,
        }
    }

    /// Stores `value` for `ttl` if `key` has none, and returns whether it did.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn put_if_absent(&self, key: &str, value: &str, ttl: Duration) -> Result<bool> {
        match &self.0 {
            Backend::DynamoDb(store) => store.put_if_absent(key, value, ttl).await,
            Backend::Redis(store) => store.put_if_absent(key, value, ttl).await,
        }
    }

    /// Replaces the value of `key` for `ttl` if it is `expected`, and returns whether it did.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn replace_if(&self, key: &str, expected: &str, value: &str, ttl: Duration) -> Result<bool> {
        match &self.0 {
            Backend::DynamoDb(store) => store.replace_if(key, expected, value, ttl).await,
            Backend::Redis(store) => store.replace_if(key, expected, value, ttl).await,
        }
    }

    /// Removes `key` if its value is `expected`, and returns whether it did: true for one of many callers at once.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn remove_if(&self, key: &str, expected: &str) -> Result<bool> {
        match &self.0 {
            Backend::DynamoDb(store) => store.remove_if(key, expected).await,
            Backend::Redis(store) => store.remove_if(key, expected).await,
        }
    }

    /// Removes `key`, whatever its value.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn remove(&self, key: &str) -> Result<()> {
        match &self.0 {
            Backend::DynamoDb(store) => store.remove(key).await,
            Backend::Redis(store) => store.remove(key).await,
        }
    }

    /// Counts one more time under `key`, unless that would exceed `limit`.
    ///
    /// # Errors
    /// - [`Error::OverLimit`] when it would,
    /// - when the store does not respond.
    pub async fn count(&self, key: &str, limit: &Limit) -> Result<()> {
        let count = match &self.0 {
            Backend::DynamoDb(store) => store.count(key, limit.times, limit.window).await?,
            Backend::Redis(store) => store.count(key, limit.times, limit.window).await?,
        };
        match count {
            Count::Within => Ok(()),
            Count::Over(retry_after) => Err(Error::OverLimit(OverLimit {
                policy: limit.policy,
                detail: limit.detail,
                limit: limit.times,
                window: limit.window,
                retry_after,
            })),
        }
    }

    /// Takes back one time that was [counted](Self::count) under `key`, unless its window is over.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn give_back(&self, key: &str) -> Result<()> {
        match &self.0 {
            Backend::DynamoDb(store) => store.give_back(key).await,
            Backend::Redis(store) => store.give_back(key).await,
        }
    }
}

impl fmt::Debug for StateStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.0 {
            Backend::DynamoDb(_) => "StateStore(dynamodb)",
            Backend::Redis(_) => "StateStore(redis)",
        })
    }
}
