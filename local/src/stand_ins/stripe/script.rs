//! The outcomes that tests lay down for coming calls of the API.

use serde::{Deserialize, Serialize};

use super::account::Account;

/// How a call goes, if not well and at once.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outcome {
    /// Only for a call whose method and path contain this, like `GET /v1/subscriptions`.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub matching: Option<String>,
    /// It fails with this HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How long the answer is on its way. It says how things were before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// For how many calls, if not for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

impl Account {
    /// Takes the first outcome that is for this call.
    pub fn next_outcome(&mut self, call: &str) -> Outcome {
        let fits = |outcome: &Outcome| {
            outcome
                .matching
                .as_ref()
                .is_none_or(|part| call.contains(part))
        };
        let Some(index) = self.script.iter().position(fits) else {
            return Outcome::default();
        };
        let left = self.script[index].times.unwrap_or(1).saturating_sub(1);
        if left == 0 {
            return self.script.remove(index);
        }
        self.script[index].times = Some(left);
        self.script[index].clone()
    }
}
