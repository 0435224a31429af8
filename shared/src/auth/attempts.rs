//! Counts attempts to sign in, so that guessing stays hopeless and nobody floods a phone.
//!
//! A stranger must not fill a limit that keeps the owner out. So most limits count a number *together with* the address
//! that the attempts come from, and every limit that is wider than that is counted twice over, by [`Origin`]: once for
//! numbers at addresses from which they signed in before, and once for all others. Whoever never signed in as the owner
//! fills the strangers' count only.
//!
//! An attempt is counted before its outcome is known, so that parallel ones cannot slip through; a right one is taken
//! off again.

use std::time::Duration;

use futures_util::future::join_all;
use lambda_http::Request;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::Pepper;
use crate::{
    Result,
    config::ConfigError,
    domain::Mobile,
    http::TrustedProxy,
    state::{Limit, StateStore},
    telemetry::Chain,
};

/// Limits the failures in a row of a number, for each [`Origin`]: together 100, the most that NIST SP 800-63B (5.2.2)
/// allows for one way to sign in. The count begins anew with a right attempt, and 30 days after the first failure.
pub(super) const IN_A_ROW: Limit = Limit { policy: "", detail: "", times: 50, window: Duration::from_hours(30 * 24) };

/// How long it is remembered that a number signed in from an address: as long as a session lasts at most.
const REMEMBERED: Duration = super::sessions::SESSION_LIFETIME;

/// Counts attempts in the state store, under keyed hashes of numbers and addresses.
pub struct Attempts {
    pub(super) store: StateStore,
    pub(super) pepper: Pepper,
    pub(super) proxy: TrustedProxy,
}

/// Pairs a limit with the parts of its key: a name for what is counted, and a number, an address, or both.
pub type Count<'a> = (&'a Limit, &'a [&'a str]);

/// Tells whether a number signed in from an address before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// It did.
    Familiar,
    /// It did not, or that was long ago.
    Strange,
}

impl Origin {
    /// Lists both.
    pub(super) const BOTH: [Self; 2] = [Self::Familiar, Self::Strange];

    /// Names the origin in the key of a count.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Familiar => "familiar",
            Self::Strange => "strange",
        }
    }
}

impl Attempts {
    /// Reads the variables of the [state store](StateStore::from_env) and of the [proxy](TrustedProxy::from_env), and
    /// `OTP_PEPPER`.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self { store: StateStore::from_env()?, pepper: Pepper::from_env()?, proxy: TrustedProxy::from_env()? })
    }

    /// Returns the network address that a request's attempts are counted for.
    #[must_use]
    pub fn address(&self, request: &Request) -> String {
        self.proxy.client_network(request)
    }

    /// Counts one attempt under each limit in order, until one is reached. Narrow limits come first: an attempt that
    /// they refuse takes nothing from the wider ones, which others share.
    ///
    /// # Errors
    /// - [`Error::OverLimit`](crate::Error::OverLimit) of the limit that is reached,
    /// - [`Error::Unavailable`](crate::Error::Unavailable) when the state store does not respond.
    pub async fn count(&self, counts: &[Count<'_>]) -> Result<()> {
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
        log_failures(join_all(given_back).await);
    }

    /// Counts from nought again. A failure is only logged.
    pub(super) async fn clear(&self, counts: &[Count<'_>]) {
        let cleared = counts.iter().map(async |&(limit, whom)| {
            let key = self.key(limit, whom);
            self.store.remove(&key).await
        });
        log_failures(join_all(cleared).await);
    }

    /// Looks up whether `mobile` signed in from `address` before.
    ///
    /// # Errors
    /// When the state store does not respond.
    pub(super) async fn origin(&self, mobile: &Mobile, address: &str) -> Result<Origin> {
        let mark = self.store.get(&self.mark(mobile, address)).await?;
        Ok(if mark.is_some() { Origin::Familiar } else { Origin::Strange })
    }

    /// Remembers that `mobile` signed in from `address`. Only a keyed hash of both is stored. A failure is only logged.
    pub(super) async fn remember(&self, mobile: &Mobile, address: &str) {
        let mark = self.mark(mobile, address);
        log_failures([self.store.put_if_absent(&mark, "signed in", REMEMBERED).await]);
    }

    fn mark(&self, mobile: &Mobile, address: &str) -> String {
        format!("familiar:{}", self.pepper.tag("familiar", &[mobile.as_str(), address]))
    }

    fn key(&self, limit: &Limit, whom: &[&str]) -> String {
        format!("{}:{}", limit.policy, self.pepper.tag(limit.policy, whom))
    }
}

#[cfg(test)]
impl Attempts {
    /// Counts in a state store of the tests, behind no proxy.
    pub(super) fn over(choice: crate::state::Choice) -> Self {
        let store = StateStore::open(choice).expect("run the tests with `cargo local test`");
        Self { store, pepper: "pepper".into(), proxy: TrustedProxy::none() }
    }
}

/// Logs what could not be written after an attempt that was right.
fn log_failures<T>(outcomes: impl IntoIterator<Item = Result<T>>) {
    for error in outcomes.into_iter().filter_map(Result::err) {
        warn!(error = %Chain(&error), "the counts of a right attempt are not up to date");
    }
}
