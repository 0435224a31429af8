//! Asks Gemini for the next turn of a conversation.
//!
//! Facts about the API: <https://ai.google.dev/api/generate-content>. The reply is streamed, so that one which breaks
//! off is noticed: it is complete only with a finish reason.

mod failure;
mod json;
mod stream;

use std::{sync::OnceLock, time::Duration};

use reqwest::{Client, header::HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tokio::{sync::watch, time::timeout};

use crate::{
    config::{self, ConfigError},
    domain::is_visible,
    telemetry::Chain,
    tls,
};
use failure::ErrorBody;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A prompt and its reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// What the user wrote.
    pub prompt: String,
    /// What the model wrote.
    pub reply: String,
}

/// The result of asking. Every way in which Gemini can respond has its place here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The reply is written, with the reason why it ends there: `STOP`, `MAX_TOKENS` for one cut at its longest, or
    /// [`TIME_LIMIT`].
    Finished(String),
    /// The model will not reply to this, with its reason, such as `SAFETY` or `RECITATION`. Asking again is useless.
    Refused(String),
    /// The model wrote nothing usable, with its reason, or `EMPTY_REPLY`. Asking again often helps.
    Blank(String),
    /// Not now: overload, a broken stream, a timeout. Asking again may help, but not before `retry_after` if it is
    /// given.
    Deferred {
        /// What kind of failure it was.
        trouble: Trouble,
        /// The delay that Gemini asked for.
        retry_after: Option<Duration>,
        /// What happened, for the log.
        reason: String,
    },
    /// The day's quota of the model is used up, with the error for the log. Asking again helps tomorrow.
    Exhausted(String),
    /// There is no such model, or no longer, with the error for the log. Another one may reply.
    NoSuchModel(String),
    /// The request itself is at fault: a wrong key, a prompt that cannot be read. Asking again is useless.
    Rejected(String),
}

/// Failures that may pass, as far as they are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The model has too much to do.
    Overload,
    /// The reply took longer than `ANSWER_TIMEOUT_SECONDS`.
    Timeout,
    /// The model wrote nothing usable.
    Blank,
    /// Anything else.
    Other,
}

impl Trouble {
    /// The word for it in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overload => "overload",
            Self::Timeout => "timeout",
            Self::Blank => "blank",
            Self::Other => "other",
        }
    }
}

/// Which model to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// `GEMINI_MODEL`.
    Usual,
    /// `GEMINI_FALLBACK_MODEL`, or the usual one if there is none.
    Fallback,
}

/// The reply as far as the model has written it. Subscribers see it grow.
pub type Draft = watch::Sender<Written>;

/// What the model has written so far, and what it says about that.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written {
    /// The text of the reply.
    pub text: String,
    /// The version of the model that writes.
    pub model: Option<String>,
    /// What was read, in tokens.
    pub prompt_tokens: Option<i32>,
    /// What was written, thoughts included, in tokens.
    pub reply_tokens: Option<i32>,
}

impl Written {
    /// A text about which the model says nothing.
    #[must_use]
    pub fn text(text: String) -> Self {
        Self { text, ..Self::default() }
    }
}

/// The finish reason of a reply that was cut because it took longer than `ANSWER_TIMEOUT_SECONDS`.
pub const TIME_LIMIT: &str = "TIME_LIMIT";

/// A client of the Gemini API.
pub struct Gemini {
    base: String,
    model: String,
    fallback: Option<String>,
    key: SecretString,
    system_prompt: Option<String>,
    generation: Generation,
    timeout: Duration,
    client: OnceLock<Client>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Content<'a>>,
    contents: Vec<Content<'a>>,
    generation_config: Generation,
}

/// Bounds what a reply may cost: left alone, the model writes and thinks as long as it likes.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Generation {
    max_output_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<Thinking>,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Thinking {
    thinking_level: &'static str,
}

/// The values of `GEMINI_THINKING_LEVEL`. Some models know no levels and refuse a request that names one.
const THINKING_LEVELS: [(&str, Option<&str>); 5] = [
    ("NONE", None),
    ("MINIMAL", Some("MINIMAL")),
    ("LOW", Some("LOW")),
    ("MEDIUM", Some("MEDIUM")),
    ("HIGH", Some("HIGH")),
];

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
        Self { role, parts: [Part { text }] }
    }
}

/// Returns the text of `shared/system-prompt.txt`, unless it is empty. A function's variables have 4 KB together, in
/// which a long prompt has no place.
fn built_in_prompt() -> Option<String> {
    let text = include_str!("../../system-prompt.txt").trim();
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

impl Gemini {
    /// The API as the environment describes it. Nothing is opened yet.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn from_env() -> Result<Self, ConfigError> {
        let base: String = config::or_default("GEMINI_URL", "https://generativelanguage.googleapis.com".into())?;
        let thinking_level = config::choice("GEMINI_THINKING_LEVEL", &THINKING_LEVELS)?;
        Ok(Self {
            base: base.trim_end_matches('/').to_owned(),
            model: config::or_default("GEMINI_MODEL", "gemini-3.8-flash".into())?,
            fallback: config::optional("GEMINI_FALLBACK_MODEL")?,
            key: config::secret("GEMINI_API_KEY")?,
            system_prompt: config::optional("SYSTEM_PROMPT")?.or_else(built_in_prompt),
            generation: Generation {
                max_output_tokens: config::or_default("GEMINI_MAX_OUTPUT_TOKENS", 8_192)?,
                thinking_config: thinking_level
                    .unwrap_or(Some("LOW"))
                    .map(|thinking_level| Thinking { thinking_level }),
            },
            timeout: Duration::from_secs(config::or_default("ANSWER_TIMEOUT_SECONDS", 90)?),
            client: OnceLock::new(),
        })
    }

    /// Returns the model that may reply when this one cannot, if there is another.
    #[must_use]
    pub fn other(&self, model: Model) -> Option<Model> {
        let other = match model {
            Model::Usual => Model::Fallback,
            Model::Fallback => Model::Usual,
        };
        (self.name(other) != self.name(model)).then_some(other)
    }

    /// The name of a model.
    #[must_use]
    pub fn name(&self, model: Model) -> &str {
        match (model, &self.fallback) {
            (Model::Fallback, Some(fallback)) => fallback,
            _ => &self.model,
        }
    }

    /// Asks for the reply to `prompt` after the turns of `history`, oldest first, and appends it to `draft` as it
    /// comes. Takes no longer than `ANSWER_TIMEOUT_SECONDS`: a reply that is still being written then is cut there.
    pub async fn ask(&self, model: Model, history: &[Turn], prompt: &str, draft: &Draft) -> Outcome {
        let model = self.name(model);
        draft.send_if_modified(|written| {
            written.model = Some(model.to_owned());
            false // subscribers follow the text
        });
        let outcome = timeout(self.timeout, self.stream(model, history, prompt, draft)).await;
        match outcome {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => failure::broken(Chain(&error.without_url()).to_string()),
            Err(_) if is_visible(&draft.borrow().text) => Outcome::Finished(TIME_LIMIT.to_owned()),
            Err(_) => Outcome::Deferred {
                trouble: Trouble::Timeout,
                retry_after: None,
                reason: format!("no reply in {:?}", self.timeout),
            },
        }
    }

    async fn stream(
        &self,
        model: &str,
        history: &[Turn],
        prompt: &str,
        draft: &Draft,
    ) -> Result<Outcome, reqwest::Error> {
        let turns = history
            .iter()
            .flat_map(|turn| [Content::new(Some("user"), &turn.prompt), Content::new(Some("model"), &turn.reply)]);
        let body = Body {
            system_instruction: self.system_prompt.as_deref().map(|text| Content::new(None, text)),
            contents: turns.chain([Content::new(Some("user"), prompt)]).collect(),
            generation_config: self.generation,
        };
        let mut key = HeaderValue::from_str(self.key.expose_secret()).unwrap_or(HeaderValue::from_static(""));
        key.set_sensitive(true);
        let base = &self.base;
        let url = format!("{base}/v1beta/models/{model}:streamGenerateContent?alt=sse");
        let request = self.client()?.post(url).header("x-goog-api-key", key);
        let response = request.json(&body).send().await?;
        let status = response.status();
        if status.is_success() {
            return Ok(stream::read(response.bytes_stream(), draft).await);
        }
        let body = stream::beginning(response).await;
        let failure: ErrorBody = json::parse(&String::from_utf8_lossy(&body)).unwrap_or_default();
        Ok(failure.error.unwrap_or_default().outcome(Some(status)))
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
