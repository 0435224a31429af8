//! Keeps the outcomes that tests script for the next calls of the API.

use serde::{Deserialize, Serialize};

/// The outcome of a call that does not succeed at once.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outcome {
    /// Only for a call whose method and path contain this, like `GET /v1/subscriptions`.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub matching: Option<String>,
    /// It fails with this HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The delay of the response, which shows the state before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// The number of calls, if not one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

/// The outcomes that are left, in order.
#[derive(Default)]
pub struct Script(pub Vec<Outcome>);

impl Script {
    /// Takes the first outcome that is for this call.
    pub fn next(&mut self, call: &str) -> Outcome {
        let fits = |outcome: &Outcome| outcome.matching.as_ref().is_none_or(|part| call.contains(part));
        let Some(index) = self.0.iter().position(fits) else {
            return Outcome::default();
        };
        let left = self.0[index].times.unwrap_or(1).saturating_sub(1);
        if left == 0 {
            return self.0.remove(index);
        }
        self.0[index].times = Some(left);
        self.0[index].clone()
    }
}
