//! The chatroom list that everybody loads first, kept for ten minutes in the state store.
//!
//! A miss leaves a random marker, reads Postgres, and replaces the marker by the list. A write to the list removes the
//! key after it committed, be it a list or a marker. So a slow reader whose rows are older than a write finds its
//! marker gone, and cannot put the old list back.
//!
//! The cache is never needed: when the state store does not answer, lists come from Postgres. A write whose removal
//! fails is logged; the list may then be as old as its ten minutes.

use std::time::Duration;

use tracing::warn;
use uuid::Uuid;

use crate::{
    Result,
    config::ConfigError,
    domain::{Chatroom, UserId},
    state::StateStore,
    telemetry::Chain,
};

const TTL: Duration = Duration::from_mins(10);

/// Longer than a reader takes.
const MARKER_TTL: Duration = Duration::from_secs(15);

/// Caches each user's first chatrooms.
pub struct ChatroomCache {
    store: StateStore,
}

/// What the cache says about a list.
enum Found {
    List(Vec<Chatroom>),
    /// Nothing, so this marker was left.
    Nothing(String),
    /// Somebody else's marker.
    Reader,
}

impl ChatroomCache {
    /// The cache in the state store that the environment describes.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            store: StateStore::from_env()?,
        })
    }

    /// The list of `user`, from the cache or from `fetch`.
    ///
    /// # Errors
    /// When `fetch` fails.
    pub async fn list(
        &self,
        user: UserId,
        fetch: impl Future<Output = Result<Vec<Chatroom>>>,
    ) -> Result<Vec<Chatroom>> {
        let key = key(user);
        let marker = match self.find(&key).await {
            Ok(Found::List(list)) => return Ok(list),
            Ok(Found::Nothing(marker)) => Some(marker),
            Ok(Found::Reader) => None,
            Err(error) => {
                warn!(error = %Chain(&error), "the chatroom cache is bypassed");
                None
            }
        };
        let list = fetch.await?;
        if let Some(marker) = marker
            && let Err(error) = self.keep(&key, &marker, &list).await
        {
            warn!(error = %Chain(&error), "a chatroom list was not cached");
        }
        Ok(list)
    }

    /// Says that the list of `user` has changed. Call it after the change has committed.
    pub async fn forget(&self, user: UserId) {
        if let Err(error) = self.store.remove(&key(user)).await {
            warn!(%user, error = %Chain(&error), "a cached chatroom list may be out of date");
        }
    }

    async fn find(&self, key: &str) -> Result<Found> {
        if let Some(value) = self.store.get(key).await? {
            // A marker is no JSON list.
            return Ok(serde_json::from_str(&value).map_or(Found::Reader, Found::List));
        }
        let marker = Uuid::now_v7().to_string();
        let left = self.store.put_if_absent(key, &marker, MARKER_TTL).await?;
        Ok(if left {
            Found::Nothing(marker)
        } else {
            Found::Reader
        })
    }

    async fn keep(&self, key: &str, marker: &str, list: &[Chatroom]) -> Result<bool> {
        let value = serde_json::to_string(list).map_err(crate::Error::internal)?;
        self.store.replace_if(key, marker, &value, TTL).await
    }
}

fn key(user: UserId) -> String {
    format!("chatrooms:{user}")
}
