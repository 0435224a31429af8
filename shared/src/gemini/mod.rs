//! Gemini: asks for the next turn of a conversation and says what came of it.
//!
//! Facts about the API: <https://ai.google.dev/api/generate-content>. The answer is streamed, so that one which breaks
//! off is noticed: it is complete only with a finish reason.

mod stream;

use std::{sync::OnceLock, time::Duration};

use reqwest::{Client, StatusCode, header::HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::timeout};

use crate::{
    config::{self, ConfigError},
    tls,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A prompt and the answer it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// What the user wrote.
    pub prompt: String,
    /// What the model answered.
    pub reply: String,
}

/// What came of asking. Every way in which Gemini can answer has its place here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The reply is complete, or cut at its longest.
    Finished(Finish),
    /// The model will not answer this, with its reason: `SAFETY`, `RECITATION`, `EMPTY_ANSWER`. Asking again is
    /// useless.
    Refused(String),
    /// Not now: overload, a broken stream, a timeout. Asking again may help, but not before `retry_after` if it is
    /// given.
    Deferred {
        /// The delay that Gemini asked for.
        retry_after: Option<Duration>,
        /// What happened, for the log.
        reason: String,
    },
    /// The request itself is at fault: a wrong key, an unknown model. Asking again is useless, and somebody must look.
    Rejected(String),
}

/// The reply as far as the model has written it. Subscribers see it grow.
pub type Draft = watch::Sender<String>;

/// What the model says at the end of a reply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finish {
    /// `STOP` or `MAX_TOKENS`.
    pub reason: String,
    /// The version of the model that replied.
    pub model: Option<String>,
    /// What was read, in tokens.
    pub prompt_tokens: Option<i32>,
    /// What was written, thoughts included, in tokens.
    pub reply_tokens: Option<i32>,
}

/// A client of the Gemini API.
pub struct Gemini {
    url: String,
    key: SecretString,
    system_prompt: Option<String>,
    timeout: Duration,
    client: OnceLock<Client>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Content<'a>>,
    contents: Vec<Content<'a>>,
}

#[derive(Serialize)]
struct Content<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    parts: [Part<'a>; 1],
}

#[derive(Serialize)]
struct Part<'a> {
    text: &'a str,
}

impl<'a> Content<'a> {
    fn new(role: Option<&'static str>, text: &'a str) -> Self {
        Self {
            role,
            parts: [Part { text }],
        }
    }
}

impl Gemini {
    /// The API as the environment describes it. Nothing is opened yet.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn from_env() -> Result<Self, ConfigError> {
        let base: String = config::or_default(
            "GEMINI_URL",
            "https://generativelanguage.googleapis.com".into(),
        )?;
        let model: String = config::or_default("GEMINI_MODEL", "gemini-3.8-flash".into())?;
        let base = base.trim_end_matches('/');
        Ok(Self {
            url: format!("{base}/v1beta/models/{model}:streamGenerateContent?alt=sse"),
            key: config::secret("GEMINI_API_KEY")?,
            system_prompt: config::optional("SYSTEM_PROMPT")?,
            timeout: Duration::from_secs(config::or_default("ANSWER_TIMEOUT_SECONDS", 90)?),
            client: OnceLock::new(),
        })
    }

    /// Asks for the reply to `prompt` after the turns of `history`, oldest first, and appends it to `draft` as it
    /// comes. Takes no longer than `ANSWER_TIMEOUT_SECONDS`.
    pub async fn ask(&self, history: &[Turn], prompt: &str, draft: &Draft) -> Outcome {
        match timeout(self.timeout, self.stream(history, prompt, draft)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => deferred(error.without_url()),
            Err(elapsed) => deferred(elapsed),
        }
    }

    async fn stream(
        &self,
        history: &[Turn],
        prompt: &str,
        draft: &Draft,
    ) -> Result<Outcome, reqwest::Error> {
        let turns = history.iter().flat_map(|turn| {
            [
                Content::new(Some("user"), &turn.prompt),
                Content::new(Some("model"), &turn.reply),
            ]
        });
        let body = Body {
            system_instruction: self
                .system_prompt
                .as_deref()
                .map(|text| Content::new(None, text)),
            contents: turns.chain([Content::new(Some("user"), prompt)]).collect(),
        };
        let mut key =
            HeaderValue::from_str(self.key.expose_secret()).unwrap_or(HeaderValue::from_static(""));
        key.set_sensitive(true);
        let request = self.client()?.post(&self.url).header("x-goog-api-key", key);
        let response = request.json(&body).send().await?;
        if response.status().is_success() {
            return Ok(stream::read(response.bytes_stream(), draft).await);
        }
        let status = response.status();
        let text = response.text().await.unwrap_or_default();
        let failure = serde_json::from_str(&text).unwrap_or(ErrorBody::default());
        Ok(failure.error.outcome(Some(status)))
    }

    fn client(&self) -> Result<&Client, reqwest::Error> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let builder = tls::http().unwrap_or_else(|_| Client::builder());
        let client = builder.connect_timeout(CONNECT_TIMEOUT).build()?;
        Ok(self.client.get_or_init(|| client))
    }
}

fn deferred(reason: impl std::fmt::Display) -> Outcome {
    Outcome::Deferred {
        retry_after: None,
        reason: reason.to_string(),
    }
}

/// The body of an error, which may also come inside a stream.
#[derive(Deserialize, Default)]
#[serde(default)]
struct ErrorBody {
    error: ApiError,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ApiError {
    code: u16,
    message: String,
    status: String,
    details: Vec<ErrorDetail>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ErrorDetail {
    /// Of `google.rpc.RetryInfo`: seconds, such as `37s` or `1.5s`.
    retry_delay: Option<String>,
}

impl ApiError {
    /// What an error means. Without an HTTP status, the error's own code counts.
    fn outcome(self, status: Option<StatusCode>) -> Outcome {
        let code = status.map_or(self.code, |status| status.as_u16());
        let reason = format!("{code} {}: {}", self.status, self.message);
        let is_permanent = (400..500).contains(&code) && !matches!(code, 408 | 429);
        if is_permanent {
            return Outcome::Rejected(reason);
        }
        let delays = self.details.iter().filter_map(|detail| {
            let seconds = detail.retry_delay.as_ref()?.strip_suffix('s')?;
            Duration::try_from_secs_f64(seconds.parse().ok()?).ok()
        });
        Outcome::Deferred {
            retry_after: delays.max(),
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    //! What Gemini's errors mean for a message.

    use super::*;

    fn outcome(code: u16, details: &str) -> Outcome {
        let body = format!(
            r#"{{"error":{{"code":{code},"message":"m","status":"S","details":{details}}}}}"#
        );
        let body: ErrorBody = serde_json::from_str(&body).unwrap();
        body.error.outcome(None)
    }

    #[test]
    fn overload_and_server_errors_are_worth_another_try() {
        for code in [408, 429, 500, 502, 503, 504] {
            assert!(
                matches!(
                    outcome(code, "[]"),
                    Outcome::Deferred {
                        retry_after: None,
                        ..
                    }
                ),
                "{code}"
            );
        }
    }

    #[test]
    fn errors_of_ours_are_not() {
        for code in [400, 401, 403, 404] {
            assert!(
                matches!(outcome(code, "[]"), Outcome::Rejected(_)),
                "{code}"
            );
        }
    }

    #[test]
    fn the_delay_that_gemini_asks_for_is_kept() {
        let details = r#"[{"@type":"type.googleapis.com/google.rpc.Help"},
            {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1.5s"}]"#;
        let Outcome::Deferred { retry_after, .. } = outcome(429, details) else {
            panic!("a 429 must be deferred");
        };
        assert_eq!(retry_after, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn a_delay_that_makes_no_sense_is_ignored() {
        for delay in ["-1s", "soon", "NaNs", "infs", "1e400s", ""] {
            let details = format!(r#"[{{"retryDelay":"{delay}"}}]"#);
            assert!(
                matches!(
                    outcome(429, &details),
                    Outcome::Deferred {
                        retry_after: None,
                        ..
                    }
                ),
                "{delay}"
            );
        }
    }
}
