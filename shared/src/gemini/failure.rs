//! What Gemini's errors mean for a message.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;

use super::{Outcome, Trouble};

/// The body of an error, which may also come inside a stream.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct ErrorBody {
    pub error: Option<ApiError>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct ApiError {
    code: u16,
    message: String,
    status: String,
    details: Vec<Detail>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Detail {
    /// Of `google.rpc.RetryInfo`: seconds, such as `37s` or `1.5s`.
    retry_delay: Option<String>,
    /// Of `google.rpc.QuotaFailure`.
    violations: Vec<Violation>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Violation {
    quota_id: String,
}

impl ApiError {
    /// Decides what an error means. Without an HTTP status, the error's own code counts.
    pub fn outcome(self, status: Option<StatusCode>) -> Outcome {
        let code = status.map_or(self.code, |status| status.as_u16());
        let reason = format!("{code} {}: {}", self.status, self.message);
        if code == 429 && self.is_for_the_day() {
            // It comes with a retry delay that has nothing to do with the end of the day.
            return Outcome::Exhausted(reason);
        }
        if code == 404 {
            return Outcome::NoSuchModel(reason);
        }
        // 409 and 499 happen under load. A redirect is not followed: the address is wrong.
        if (300..500).contains(&code) && !matches!(code, 408 | 409 | 429 | 499) {
            return Outcome::Rejected(reason);
        }
        Outcome::Deferred {
            trouble: if code == 503 { Trouble::Overload } else { Trouble::Other },
            retry_after: self.retry_after(),
            reason,
        }
    }

    fn is_for_the_day(&self) -> bool {
        let mut violations = self.details.iter().flat_map(|detail| &detail.violations);
        violations.any(|violation| violation.quota_id.contains("PerDay"))
    }

    fn retry_after(&self) -> Option<Duration> {
        let delays = self.details.iter().filter_map(|detail| {
            let seconds = detail.retry_delay.as_ref()?.strip_suffix('s')?;
            Duration::try_from_secs_f64(seconds.parse().ok()?).ok()
        });
        delays.max()
    }
}

/// A response that broke off or makes no sense.
pub(super) fn broken(reason: impl Into<String>) -> Outcome {
    Outcome::Deferred { trouble: Trouble::Other, retry_after: None, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(code: u16, details: &str) -> Outcome {
        let body = format!(r#"{{"error":{{"code":{code},"message":"m","status":"S","details":{details}}}}}"#);
        let body: ErrorBody = serde_json::from_str(&body).unwrap();
        body.error.unwrap().outcome(None)
    }

    fn retry_after(delay: &str) -> Option<Duration> {
        let details = format!(
            r#"[{{"@type":"type.googleapis.com/google.rpc.Help"}},
                {{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{delay}"}}]"#
        );
        let Outcome::Deferred { retry_after, .. } = outcome(429, &details) else {
            panic!("a 429 must be deferred");
        };
        retry_after
    }

    #[test]
    fn overload_and_server_errors_are_worth_another_try() {
        for code in [408, 409, 429, 499, 500, 502, 503, 504] {
            let Outcome::Deferred { trouble, retry_after, .. } = outcome(code, "[]") else {
                panic!("{code} must be deferred");
            };
            assert_eq!((trouble == Trouble::Overload, retry_after), (code == 503, None), "{code}");
        }
    }

    #[test]
    fn errors_of_ours_and_redirects_are_not() {
        for code in [301, 307, 400, 401, 403, 413] {
            assert!(matches!(outcome(code, "[]"), Outcome::Rejected(_)), "{code}");
        }
    }

    #[test]
    fn a_model_that_is_not_there_is_no_fault_of_the_request() {
        assert!(matches!(outcome(404, "[]"), Outcome::NoSuchModel(_)));
    }

    #[test]
    fn a_quota_of_the_day_is_told_from_one_of_the_minute() {
        let details = |quota: &str| {
            format!(r#"[{{"violations":[{{"quotaId":"Other"}},{{"quotaId":"{quota}"}}]}},{{"retryDelay":"0s"}}]"#)
        };
        let day = details("GenerateRequestsPerDayPerProjectPerModel-FreeTier");
        assert!(matches!(outcome(429, &day), Outcome::Exhausted(_)));
        let minute = details("GenerateRequestsPerMinutePerProjectPerModel-FreeTier");
        assert!(matches!(outcome(429, &minute), Outcome::Deferred { .. }));
    }

    #[test]
    fn the_delay_that_gemini_asks_for_is_kept_and_one_that_makes_no_sense_ignored() {
        assert_eq!(retry_after("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(retry_after("0s"), Some(Duration::ZERO));
        for delay in ["-1s", "soon", "NaNs", "infs", "1e20s", "1e400s", ""] {
            assert_eq!(retry_after(delay), None, "{delay}");
        }
    }
}
