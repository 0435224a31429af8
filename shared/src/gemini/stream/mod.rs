//! Reads Gemini's reply as it streams in: server-sent events, each a piece of the reply or an error.
//!
//! An error may also come as plain JSON between the events. Nothing that Gemini sends can make the memory grow beyond a
//! few megabytes: lines are bounded, and so is the reply.

#[cfg(test)]
mod tests;

use std::io;

use bytes::Buf;
use futures_util::{Stream, StreamExt, TryStreamExt};
use reqwest::Response;
use serde::Deserialize;
use tokio_util::{
    codec::{FramedRead, LinesCodec},
    io::StreamReader,
};

use super::{
    Draft, Finish, Outcome,
    failure::{ApiError, ErrorBody, broken},
};
use crate::telemetry::Chain;

/// The longest reply in bytes. What comes after is dropped, as if the model had come to its longest reply.
const LONGEST_REPLY: usize = 1 << 20;

/// The longest line in bytes: an event whose text is one whole reply, with room for JSON's escapes.
const LONGEST_LINE: usize = 4 * LONGEST_REPLY;

/// The longest error between the events, in bytes.
const LONGEST_ERROR: usize = 64 << 10;

/// One event. Unknown fields and values are Gemini's to add.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Chunk {
    candidates: Vec<Candidate>,
    prompt_feedback: PromptFeedback,
    usage_metadata: Usage,
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

/// The counts are running totals; the last one stands.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Usage {
    #[serde(rename = "promptTokenCount")]
    prompt: Option<i32>,
    #[serde(rename = "candidatesTokenCount")]
    candidates: Option<i32>,
    #[serde(rename = "thoughtsTokenCount")]
    thoughts: Option<i32>,
}

/// Reads a stream to its end and appends the reply to `draft`.
pub(super) async fn read<B: Buf>(bytes: impl Stream<Item = Result<B, reqwest::Error>>, draft: &Draft) -> Outcome {
    let bytes = bytes.map_err(|error| io::Error::other(error.without_url()));
    let bytes = StreamReader::new(Box::pin(bytes));
    let mut lines = FramedRead::new(bytes, LinesCodec::new_with_max_length(LONGEST_LINE));
    let mut reading = Reading::new(draft);
    while let Some(line) = lines.next().await {
        let outcome = match line {
            Ok(line) => reading.line(&line),
            Err(error) => Some(broken(format!("the stream broke: {}", Chain(&error)))),
        };
        if let Some(outcome) = outcome {
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
    finish: Finish,
    blocked: Option<String>,
    finished: Option<String>,
}

impl<'a> Reading<'a> {
    fn new(draft: &'a Draft) -> Self {
        Self {
            draft,
            data: String::new(),
            stray: String::new(),
            finish: Finish::default(),
            blocked: None,
            finished: None,
        }
    }

    /// Takes in a line. There is an outcome when nothing that follows matters.
    fn line(&mut self, line: &str) -> Option<Outcome> {
        const OTHER_FIELDS: [&str; 4] = [":", "event:", "id:", "retry:"];
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
        let chunk: Chunk = match serde_json::from_str(&data) {
            Ok(chunk) => chunk,
            Err(error) => return Some(broken(format!("an event is not JSON: {error}"))),
        };
        if let Some(error) = chunk.error {
            return Some(error.outcome(None));
        }
        self.blocked = chunk.prompt_feedback.block_reason.or(self.blocked.take());
        self.finish.note(&chunk.usage_metadata, chunk.model_version);
        let candidate = chunk.candidates.into_iter().next()?;
        self.finished = candidate.finish_reason.or(self.finished.take());
        let parts = candidate.content.parts.into_iter();
        let mut texts = parts.filter(|part| !part.thought && !part.text.is_empty());
        let is_full = texts.any(|part| !self.write(&part.text));
        is_full.then(|| self.finished("MAX_TOKENS"))
    }

    /// Appends a text to the reply, as far as there is room, and returns whether there was.
    fn write(&self, text: &str) -> bool {
        // Postgres cannot store NUL.
        let text = text.replace('\0', "\u{fffd}");
        let room = LONGEST_REPLY.saturating_sub(self.draft.borrow().len());
        let end = text.floor_char_boundary(room);
        self.draft.send_modify(|draft| draft.push_str(&text[..end]));
        end == text.len()
    }

    /// Decides what a stream that ended means.
    fn conclude(mut self) -> Outcome {
        // Gemini frames an array's elements as events, and an error may come as such an element.
        let stray = self.stray.trim_matches(|c: char| c.is_whitespace() || "[],".contains(c));
        if let Ok(ErrorBody { error: Some(error) }) = serde_json::from_str(stray) {
            return error.outcome(None);
        }
        if let Some(reason) = self.blocked {
            return Outcome::Refused(reason);
        }
        let Some(reason) = self.finished.take() else {
            return broken("the stream ended without a finish reason");
        };
        let is_empty = self.draft.borrow().is_empty();
        match reason.as_str() {
            "STOP" if is_empty => Outcome::Blank("EMPTY_REPLY".into()),
            "OTHER" | "MALFORMED_RESPONSE" => Outcome::Blank(reason),
            "STOP" | "MAX_TOKENS" if !is_empty => self.finished(&reason),
            _ => Outcome::Refused(reason),
        }
    }

    fn finished(&mut self, reason: &str) -> Outcome {
        let mut finish = std::mem::take(&mut self.finish);
        reason.clone_into(&mut finish.reason);
        Outcome::Finished(finish)
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

impl Finish {
    fn note(&mut self, usage: &Usage, model: Option<String>) {
        self.model = model.or(self.model.take());
        self.prompt_tokens = usage.prompt.or(self.prompt_tokens);
        let written = [usage.candidates, usage.thoughts];
        if written.iter().any(Option::is_some) {
            let total = written.into_iter().flatten().fold(0, i32::saturating_add);
            self.reply_tokens = Some(total);
        }
    }
}
