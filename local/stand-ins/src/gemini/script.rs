//! Keeps the outcomes that tests script for the next calls, in order.

use serde::{Deserialize, Serialize};

/// The outcome of a call. Without anything set, it is answered by `echo: ` and the prompt; members may be combined.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a member of the JSON")]
pub struct Outcome {
    /// Only for a prompt that contains this.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub matching: Option<String>,
    /// The reply's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The model's thoughts, in parts that are not text of the reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thoughts: Option<String>,
    /// How many pieces the text comes in, if not two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pieces: Option<usize>,
    /// The delay before anything comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// How long nothing comes between two pieces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_ms: Option<u64>,
    /// The call fails with this HTTP status, 499 and 409 included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// With an error: the quota that is used up, like `GenerateRequestsPerDayPerProjectPerModel-FreeTier`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_id: Option<String>,
    /// With an error: when to ask again, like `37s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_delay: Option<String>,
    /// The stream ends in the middle, without a finish reason.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cut: bool,
    /// The stream goes on with an error of this code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_in_stream: Option<u16>,
    /// The stream goes on with such an error as pretty-printed JSON that is not framed as an event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unframed_error: Option<u16>,
    /// The prompt is blocked for this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<String>,
    /// The finish reason, if not `STOP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish: Option<String>,
    /// The last candidate has a finish reason only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bare_end: bool,
    /// The text is repeated until the caller leaves.
    #[serde(default, skip_serializing_if = "is_false")]
    pub endless: bool,
    /// The stream begins and never goes on.
    #[serde(default, skip_serializing_if = "is_false")]
    pub hang: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// The outcomes that were not used yet.
#[derive(Debug, Default)]
pub struct Script(Vec<Outcome>);

impl Script {
    /// Adds outcomes at the end.
    pub fn extend(&mut self, outcomes: Vec<Outcome>) -> Result<(), String> {
        for (index, outcome) in outcomes.iter().enumerate() {
            let nothing = Outcome { matching: outcome.matching.clone(), ..Outcome::default() };
            if *outcome == nothing {
                return Err(format!("outcome {index} says nothing"));
            }
            let codes = [outcome.status, outcome.error_in_stream, outcome.unframed_error];
            if let Some(code) = codes.into_iter().flatten().find(|code| !(400..600).contains(code)) {
                return Err(format!("outcome {index}: {code} is not an error's status"));
            }
            let says_more = outcome.retry_delay.is_some() || outcome.quota_id.is_some();
            if says_more && codes.iter().all(Option::is_none) {
                return Err(format!("outcome {index}: `retry_delay` and `quota_id` need an error"));
            }
        }
        self.0.extend(outcomes);
        Ok(())
    }

    /// Takes the first outcome that is for any prompt or for this one.
    pub fn next(&mut self, prompt: &str) -> Outcome {
        let fits = |outcome: &Outcome| outcome.matching.as_ref().is_none_or(|part| prompt.contains(part));
        match self.0.iter().position(fits) {
            Some(index) => self.0.remove(index),
            None => Outcome::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(json: serde_json::Value) -> Result<Script, String> {
        let outcomes = serde_json::from_value(json).map_err(|error| error.to_string())?;
        let mut script = Script::default();
        script.extend(outcomes).map(|()| script)
    }

    #[test]
    fn outcomes_are_used_in_order_and_only_by_prompts_that_match() {
        let script = script(serde_json::json!([
            {"status": 503, "match": "storm"}, {"text": "first"}, {"text": "second", "delay_ms": 5},
        ]));
        let mut script = script.unwrap();
        assert_eq!(script.next("hello").text.as_deref(), Some("first"));
        assert_eq!(script.next("a storm").status, Some(503));
        assert_eq!(script.next("a storm").delay_ms, Some(5));
        assert_eq!(script.next("a storm"), Outcome::default());
    }

    #[test]
    fn an_outcome_that_is_unknown_or_cannot_happen_is_refused() {
        for wrong in [
            serde_json::json!([{"stauts": 503}]),
            serde_json::json!([{}]),
            serde_json::json!([{"match": "only"}]),
            serde_json::json!([{"status": 200}]),
            serde_json::json!([{"retry_delay": "3s"}]),
        ] {
            assert!(script(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
