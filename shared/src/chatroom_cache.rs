//! The chatroom list that everybody loads first, kept for ten minutes in the state store if `CHATROOM_CACHE` says so.
//!
//! By default it is not: Postgres gives a page in less time, and for less money, than `DynamoDB` does. The cache is for
//! a database that is busy, and best over Redis; `docs/benchmark.md` has the figures.
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
    config::{self, ConfigError},
    domain::{Chatroom, UserId},
    state::StateStore,
    telemetry::Chain,
};

const TTL: Duration = Duration::from_mins(10);

/// Longer than a reader takes.
const MARKER_TTL: Duration = Duration::from_secs(15);

/// Caches each user's first chatrooms, or does nothing.
pub struct ChatroomCache {
    store: Option<StateStore>,
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
    /// The cache that `CHATROOM_CACHE` asks for: `none`, which is the default, or `state`, in the state store that the
    /// environment describes.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn from_env() -> Result<Self, ConfigError> {
        let choices = [("none", false), ("state", true)];
        let is_on = config::choice("CHATROOM_CACHE", &choices)?.unwrap_or(false);
        let store = is_on.then(StateStore::from_env).transpose()?;
        Ok(Self { store })
    }

    /// A cache in this store, whatever the environment says.
    #[must_use]
    pub fn over(store: StateStore) -> Self {
        Self { store: Some(store) }
    }

    /// Whether lists are kept.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.store.is_some()
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
        let Some(store) = &self.store else {
            return fetch.await;
        };
        let key = key(user);
        let marker = match find(store, &key).await {
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
            && let Err(error) = keep(store, &key, &marker, &list).await
        {
            warn!(error = %Chain(&error), "a chatroom list was not cached");
        }
        Ok(list)
    }

    /// Says that the list of `user` has changed. Call it after the change has committed.
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
        return Ok(serde_json::from_str(&value).map_or(Found::Reader, Found::List));
    }
    let marker = Uuid::now_v7().to_string();
    let left = store.put_if_absent(key, &marker, MARKER_TTL).await?;
    Ok(if left { Found::Nothing(marker) } else { Found::Reader })
}

async fn keep(store: &StateStore, key: &str, marker: &str, list: &[Chatroom]) -> Result<bool> {
    let value = serde_json::to_string(list).map_err(crate::Error::internal)?;
    store.replace_if(key, marker, &value, TTL).await
}

fn key(user: UserId) -> String {
    format!("chatrooms:{user}")
}
