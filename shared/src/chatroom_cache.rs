//! Caches the first page of each user's chatrooms for ten minutes in the state store.
//!
//! By default that is done where the store is Redis, which returns a page for no more than Postgres does and spares it.
//! `DynamoDB` takes longer than Postgres, and each write is paid for. `docs/benchmark.md` has the figures.
//!
//! A reader that misses leaves a random marker, reads Postgres, and replaces the marker by the list. A writer removes
//! the key after its change has committed, whether it holds a list or a marker. So a slow reader whose rows are older
//! than the change finds its marker gone, and cannot put the old list back.
//!
//! Requests never depend on the cache: when the state store does not respond, lists come from Postgres. A removal that
//! fails is logged; the list may then be ten minutes out of date.

use std::time::Duration;

use tracing::warn;
use uuid::Uuid;

use crate::{
    Result,
    config::{self, ConfigError},
    domain::{Chatroom, UserId},
    state::{self, StateStore},
    telemetry::Chain,
};

const TTL: Duration = Duration::from_mins(10);

/// How long a reader has to replace its marker.
const MARKER_TTL: Duration = Duration::from_secs(15);

/// Caches each user's first chatrooms, or does nothing.
pub struct ChatroomCache {
    store: Option<StateStore>,
}

/// The outcome of a look-up.
enum Found {
    List(Vec<Chatroom>),
    /// The key was absent, and now holds this marker of ours.
    OwnMarker(String),
    /// The key holds the marker of another reader.
    OtherMarker,
}

impl ChatroomCache {
    /// Configures the cache that `CHATROOM_CACHE` asks for: `none`; `state`, in the state store that the environment
    /// describes; or `auto`, the default, which is `state` where that store is Redis.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn from_env() -> Result<Self, ConfigError> {
        let choices = [("auto", None), ("none", Some(false)), ("state", Some(true))];
        let asked = config::choice("CHATROOM_CACHE", &choices)?.flatten();
        let store = state::Choice::from_env()?;
        let is_on = asked.unwrap_or(store == state::Choice::Redis);
        Ok(Self { store: is_on.then(|| StateStore::open(store)).transpose()? })
    }

    /// Makes a cache in this store, whatever the environment says.
    #[must_use]
    pub fn over(store: StateStore) -> Self {
        Self { store: Some(store) }
    }

    /// Returns whether lists are cached.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.store.is_some()
    }

    /// Returns the list of `user`, from the cache or from `fetch`.
    ///
    /// # Errors
    /// When `fetch` fails.
    pub async fn list(
        &self,
        user: UserId,
        fetch: impl Future<Output = Result<Vec<Chatroom>>>,
    ) -> Result<Vec<Chatroom>> {
        let Some(store) = &self.store else {
            return fetch.await;
        };
        let key = key(user);
        let marker = match find(store, &key).await {
            Ok(Found::List(list)) => return Ok(list),
            Ok(Found::OwnMarker(marker)) => Some(marker),
            Ok(Found::OtherMarker) => None,
            Err(error) => {
                warn!(error = %Chain(&error), "the chatroom cache is bypassed");
                None
            }
        };
        let list = fetch.await?;
        if let Some(marker) = marker
            && let Err(error) = replace_marker(store, &key, &marker, &list).await
        {
            warn!(error = %Chain(&error), "a chatroom list was not cached");
        }
        Ok(list)
    }

    /// Removes the list of `user` after a change of it has committed.
    pub async fn forget(&self, user: UserId) {
        let Some(store) = &self.store else { return };
        if let Err(error) = store.remove(&key(user)).await {
            warn!(%user, error = %Chain(&error), "a cached chatroom list may be out of date");
        }
    }
}

async fn find(store: &StateStore, key: &str) -> Result<Found> {
    if let Some(value) = store.get(key).await? {
        // A marker is no JSON list.
        return Ok(serde_json::from_str(&value).map_or(Found::OtherMarker, Found::List));
    }
    let marker = Uuid::now_v7().to_string();
    let left = store.put_if_absent(key, &marker, MARKER_TTL).await?;
    Ok(if left { Found::OwnMarker(marker) } else { Found::OtherMarker })
}

async fn replace_marker(store: &StateStore, key: &str, marker: &str, list: &[Chatroom]) -> Result<bool> {
    let value = serde_json::to_string(list).map_err(crate::Error::internal)?;
    store.replace_if(key, marker, &value, TTL).await
}

fn key(user: UserId) -> String {
    format!("chatrooms:{user}")
}
