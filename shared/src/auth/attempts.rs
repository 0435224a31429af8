//! Counts attempts to sign in, so that guessing stays hopeless and nobody floods a phone.
//!
//! Most limits count a number *together with* the address that the attempts come from, and a wider one counts the
//! number alone: a stranger fills the limit of his own address, and the owner still gets in from another. An attempt is
//! counted before its outcome is known, so that parallel ones cannot slip through; a right one is taken off again.

use futures_util::future::join_all;
use tracing::warn;

use super::Pepper;
use crate::{
    Result,
    config::ConfigError,
    state::{Limit, StateStore},
    telemetry::Chain,
};

/// Counts attempts in the state store, under keyed hashes of numbers, addresses and users.
pub struct Attempts {
    pub(super) store: StateStore,
    pub(super) pepper: Pepper,
}

/// Pairs a limit with the parts of its key: a number, an address, a user, or some of these.
pub(super) type Count<'a> = (&'a Limit, &'a [&'a str]);

impl Attempts {
    /// Reads the [state store](StateStore::from_env)'s variables and `OTP_PEPPER`.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self { store: StateStore::from_env()?, pepper: Pepper::from_env()? })
    }

    /// Counts one attempt under each limit in order, until one is reached. Narrow limits come first: an attempt that
    /// they refuse takes nothing from the wider ones, which others share.
    ///
    /// # Errors
    /// - [`Error::OverLimit`](crate::Error::OverLimit) of the limit that is reached,
    /// - [`Error::Unavailable`](crate::Error::Unavailable) when the state store does not respond.
    pub(super) async fn count(&self, counts: &[Count<'_>]) -> Result<()> {
        for &(limit, whom) in counts {
            self.store.count(&self.key(limit, whom), limit).await?;
        }
        Ok(())
    }

    /// Takes a right attempt off what was counted. A failure is only logged: it must not keep the user out.
    pub(super) async fn give_back(&self, counts: &[Count<'_>]) {
        let given_back = counts.iter().map(async |&(limit, whom)| {
            let key = self.key(limit, whom);
            self.store.give_back(&key).await
        });
        for error in join_all(given_back).await.into_iter().filter_map(Result::err) {
            warn!(error = %Chain(&error), "a right attempt stays counted");
        }
    }

    fn key(&self, limit: &Limit, whom: &[&str]) -> String {
        format!("{}:{}", limit.policy, self.pepper.tag(limit.policy, whom))
    }
}
