//! Reads Gemini's reply as it streams in: server-sent events, each a piece of the reply or an error.
//!
//! An error may also come as plain JSON between the events. Nothing that Gemini sends can make the memory grow beyond a
//! few megabytes: lines are bounded, and so is the reply.

#[cfg(test)]
mod tests;

use std::{io, time::Duration};

use bytes::Buf;
use futures_util::{Stream, StreamExt, TryStreamExt};
use reqwest::Response;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::{
    codec::{FramedRead, LinesCodec},
    io::StreamReader,
};

use super::{
    Draft, Outcome, Written,
    failure::{ApiError, ErrorBody, broken},
    json,
};
use crate::{domain::is_visible, telemetry::Chain};

/// The longest reply in bytes. What comes after is dropped, as if the model had come to its longest reply.
const LONGEST_REPLY: usize = 1 << 20;

/// The longest line in bytes: an event whose text is one whole reply, with room for JSON's escapes.
const LONGEST_LINE: usize = 4 * LONGEST_REPLY;

/// The longest error between the events, in bytes.
const LONGEST_ERROR: usize = 64 << 10;

/// How long to wait for what follows a finish reason: the counts, or the end.
const AFTERMATH: Duration = Duration::from_secs(1);

/// Reasons for which a text that was written is withdrawn.
const WITHDRAWING: [&str; 4] = ["SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII"];

/// One event. Unknown fields and values are Gemini's to add.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Chunk {
    candidates: Vec<Candidate>,
    prompt_feedback: PromptFeedback,
    /// Running totals; the last ones stand. Read on their own, since no reply is lost for a count.
    usage_metadata: Value,
    model_version: Option<String>,
    error: Option<ApiError>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Candidate {
    content: Content,
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Content {
    parts: Vec<Part>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Part {
    text: String,
    thought: bool,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct PromptFeedback {
    block_reason: Option<String>,
}

/// Reads a stream to its end and appends the reply to `draft`.
pub(super) async fn read<B: Buf>(bytes: impl Stream<Item = Result<B, reqwest::Error>>, draft: &Draft) -> Outcome {
    let bytes = bytes.map_err(|error| io::Error::other(error.without_url()));
    let bytes = StreamReader::new(Box::pin(bytes));
    let mut lines = FramedRead::new(bytes, LinesCodec::new_with_max_length(LONGEST_LINE));
    let mut reading = Reading::new(draft);
    loop {
        let line = if reading.finished.is_some() {
            // The reply is whole. Whatever becomes of the stream now costs nothing of it.
            let Ok(Some(Ok(line))) = timeout(AFTERMATH, lines.next()).await else { break };
            line
        } else {
            match lines.next().await {
                Some(Ok(line)) => line,
                Some(Err(error)) => return broken(format!("the stream broke: {}", Chain(&error))),
                None => break,
            }
        };
        if let Some(outcome) = reading.line(&line) {
            return outcome;
        }
    }
    reading.conclude()
}

/// Reads a response's body, but no more than an error can take.
pub(super) async fn beginning(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST_ERROR {
            break;
        }
    }
    body
}

/// What was read so far.
struct Reading<'a> {
    draft: &'a Draft,
    /// The data of the event that is being read.
    data: String,
    /// Lines that belong to no event.
    stray: String,
    /// One half of a character, whose other half comes with the next event.
    surrogate: Option<u16>,
    blocked: Option<String>,
    finished: Option<String>,
}

impl<'a> Reading<'a> {
    fn new(draft: &'a Draft) -> Self {
        Self { draft, data: String::new(), stray: String::new(), surrogate: None, blocked: None, finished: None }
    }

    /// Takes in a line. There is an outcome when nothing that follows matters.
    fn line(&mut self, line: &str) -> Option<Outcome> {
        const OTHER_FIELDS: [&str; 4] = [":", "event:", "id:", "retry:"];
        let line = line.trim_start_matches('\u{feff}');
        if line.is_empty() {
            return self.event();
        }
        if let Some(data) = line.strip_prefix("data:") {
            return append(&mut self.data, data, LONGEST_LINE);
        }
        if OTHER_FIELDS.iter().any(|field| line.starts_with(field)) {
            return None;
        }
        append(&mut self.stray, line, LONGEST_ERROR)
    }

    /// Takes in the event that an empty line ended.
    fn event(&mut self) -> Option<Outcome> {
        let data = std::mem::take(&mut self.data);
        if data.is_empty() {
            return None;
        }
        let chunk = match self.chunk(&data) {
            Ok(chunk) => chunk,
            // Relays end their streams with `data: [DONE]`.
            Err(_) if self.finished.is_some() || data.trim() == "[DONE]" => return None,
            Err(error) => return Some(broken(format!("an event is not JSON: {error}"))),
        };
        if let Some(error) = chunk.error {
            return if self.finished.is_some() { None } else { Some(error.outcome(None)) };
        }
        self.blocked = chunk.prompt_feedback.block_reason.or(self.blocked.take());
        self.draft.send_if_modified(|written| {
            written.note(&chunk.usage_metadata, chunk.model_version);
            false // subscribers follow the text
        });
        let candidate = chunk.candidates.into_iter().next()?;
        self.finished = candidate.finish_reason.or(self.finished.take());
        let parts = candidate.content.parts.into_iter();
        let mut texts = parts.filter(|part| !part.thought && !part.text.is_empty());
        let is_full = texts.any(|part| !self.write(&part.text));
        is_full.then(|| Outcome::Finished("MAX_TOKENS".into()))
    }

    fn chunk(&mut self, data: &str) -> serde_json::Result<Chunk> {
        match json::parse(data) {
            Err(_) if self.surrogate.is_some() || data.contains("\\u") => {
                json::parse(&json::pair_surrogates(data, &mut self.surrogate))
            }
            chunk => chunk,
        }
    }

    /// Appends a text to the reply, as far as there is room, and returns whether there was.
    fn write(&self, text: &str) -> bool {
        // Postgres cannot store NUL.
        let text = text.replace('\0', "\u{fffd}");
        let room = LONGEST_REPLY.saturating_sub(self.draft.borrow().text.len());
        let end = text.floor_char_boundary(room);
        self.draft.send_modify(|written| written.text.push_str(&text[..end]));
        end == text.len()
    }

    /// Decides what a stream that ended means.
    fn conclude(self) -> Outcome {
        if let Some(reason) = self.finished {
            return ending(reason, is_visible(&self.draft.borrow().text));
        }
        // Gemini frames an array's elements as events, and an error may come as such an element.
        let stray = self.stray.trim_matches(|c: char| c.is_whitespace() || "[],".contains(c));
        if let Ok(ErrorBody { error: Some(error) }) = json::parse(stray) {
            return error.outcome(None);
        }
        match self.blocked {
            Some(reason) => Outcome::Refused(reason),
            None => broken("the stream ended without a finish reason"),
        }
    }
}

/// Decides what a finish reason means. A text that a reader has seen is kept, unless it must not be shown.
fn ending(reason: String, is_written: bool) -> Outcome {
    match reason.as_str() {
        reason if WITHDRAWING.contains(&reason) => Outcome::Refused(reason.to_owned()),
        _ if is_written => Outcome::Finished(reason),
        "STOP" => Outcome::Blank("EMPTY_REPLY".into()),
        "OTHER" => Outcome::Blank(reason),
        _ if reason.starts_with("MALFORMED_") || reason.starts_with("UNEXPECTED_") => Outcome::Blank(reason),
        _ => Outcome::Refused(reason),
    }
}

/// Appends a line to lines, unless that makes them longer than anything that Gemini sends.
fn append(lines: &mut String, line: &str, longest: usize) -> Option<Outcome> {
    if lines.len() + line.len() > longest {
        return Some(broken("the stream has no end of a line"));
    }
    lines.push_str(line);
    lines.push('\n');
    None
}

impl Written {
    /// Takes in the counts of an event, as far as they can be read.
    fn note(&mut self, usage: &Value, model: Option<String>) {
        let count = |name| usage.get(name).and_then(Value::as_i64).and_then(|count| i32::try_from(count).ok());
        self.model = model.or(self.model.take());
        self.prompt_tokens = count("promptTokenCount").or(self.prompt_tokens);
        let written = [count("candidatesTokenCount"), count("thoughtsTokenCount")];
        if written.iter().any(Option::is_some) {
            let total = written.into_iter().flatten().fold(0, i32::saturating_add);
            self.reply_tokens = Some(total);
        }
    }
}
