//! Counts attempts to sign in, so that guessing stays hopeless and nobody floods a phone.
//!
//! Most limits hold for a number *and* the address that the attempts come from, with a wider one for the number as a
//! whole: a stranger uses up what his own address may do with the number, and its owner, at another address, still gets
//! in. An attempt is counted before its outcome is known, so that parallel ones cannot slip through; one that turns out
//! to be right is given back.

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

/// Pairs a limit with what it is counted for: a number, an address, a user, or some of these together.
pub(super) type Count<'a> = (&'a Limit, &'a [&'a str]);

impl Attempts {
    /// Reads the [state store](StateStore::from_env)'s variables and `OTP_PEPPER`.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self { store: StateStore::from_env()?, pepper: Pepper::from_env()? })
    }

    /// Counts one attempt under each limit in order, until one is reached. Narrow limits come first: what they refuse
    /// uses up nothing of the wider ones, which others need too.
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

    /// Takes back what was counted for an attempt that was right. Only logs a failure, since whoever is right gets in.
    pub(super) async fn give_back(&self, counts: &[Count<'_>]) {
        let given_back = counts.iter().map(async |&(limit, whom)| {
            let key = self.key(limit, whom);
            self.store.give_back(&key).await
        });
        for error in join_all(given_back).await.into_iter().filter_map(Result::err) {
            warn!(error = %Chain(&error), "an attempt that was right stays counted");
        }
    }

    fn key(&self, limit: &Limit, whom: &[&str]) -> String {
        format!("{}:{}", limit.policy, self.pepper.tag(limit.policy, whom))
    }
}
