//! Sends a reply: whole, or as a stream of server-sent events, each a `GenerateContentResponse`.

use std::{convert::Infallible, future::pending, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use futures_util::stream::{self, Stream, StreamExt};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{failure::Failure, script::Outcome};

/// The number of pieces a reply comes in, unless the script gives one.
const PIECES: usize = 2;

/// Waits as long as the outcome says.
pub(super) async fn wait(outcome: &Outcome) {
    sleep(Duration::from_millis(outcome.delay_ms.unwrap_or_default())).await;
}

/// The reply that an outcome asks for.
pub(super) struct Reply {
    model: String,
    prompt_tokens: usize,
    thoughts: String,
    text: String,
}

impl Reply {
    pub(super) fn new(model: &str, prompt: &str, request: &Value, outcome: &Outcome) -> Self {
        Self {
            model: model.to_owned(),
            prompt_tokens: tokens(&request.to_string()),
            thoughts: outcome.thoughts.clone().unwrap_or_default(),
            text: outcome.text.clone().unwrap_or_else(|| format!("echo: {prompt}")),
        }
    }

    /// Makes the one response of `generateContent`.
    pub(super) fn whole(&self, outcome: &Outcome) -> Result<Value, Failure> {
        if let Some(code) = outcome.error_in_stream.or(outcome.unframed_error) {
            return Err(Failure::scripted(code, outcome, &self.model));
        }
        let mut events = self.events(outcome);
        let parts: Vec<_> = events
            .iter()
            .filter_map(|event| event["candidates"][0]["content"]["parts"].as_array())
            .flatten()
            .cloned()
            .collect();
        let mut last = events.pop().unwrap_or_default();
        if !parts.is_empty() {
            last["candidates"][0]["content"] = json!({"parts": parts, "role": "model"});
        }
        Ok(last)
    }

    /// Streams the reply as the outcome asks.
    pub(super) fn stream(self, outcome: Outcome) -> Response {
        let events: Vec<_> = self.events(&outcome).iter().map(data).collect();
        let endless = if outcome.endless { usize::MAX } else { 0 };
        let piece = data(&self.response(candidate(&[json!({"text": self.text})], None), &self.text));
        let failure = |code| Failure::scripted(code, &outcome, &self.model).body();
        let framed = outcome.error_in_stream.map(|code| data(&failure(code)));
        let unframed = outcome.unframed_error.map(|code| Bytes::from(format!("{:#}\n", failure(code))));
        let hang = outcome.hang;
        let pause = Duration::from_millis(outcome.pause_ms.unwrap_or_default());
        let events = stream::iter(events.into_iter().enumerate()).then(move |(n, event)| async move {
            if n > 0 {
                sleep(pause).await;
            }
            event
        });
        let delay = stream::once(async move { wait(&outcome).await }).filter_map(async |()| None);
        let body = delay
            .chain(events)
            .chain(stream::iter(std::iter::repeat_n(piece, endless)))
            .chain(stream::iter(framed.into_iter().chain(unframed)))
            .chain(end(hang))
            .map(Ok::<_, Infallible>);
        ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(body)).into_response()
    }

    /// Makes the responses, up to where the outcome breaks off.
    fn events(&self, outcome: &Outcome) -> Vec<Value> {
        if let Some(reason) = &outcome.block {
            let feedback = json!({"blockReason": reason, "safetyRatings": ratings("HIGH", true)});
            return vec![self.response(json!({"promptFeedback": feedback}), "")];
        }
        let breaks_off = outcome.cut
            || outcome.hang
            || outcome.endless
            || outcome.error_in_stream.is_some()
            || outcome.unframed_error.is_some();
        let mut events = Vec::new();
        if !self.thoughts.is_empty() {
            let thought = json!({"text": self.thoughts, "thought": true});
            events.push(self.response(candidate(&[thought], None), ""));
        }
        let mut said = 0;
        let pieces = pieces(&self.text, outcome.pieces.unwrap_or(PIECES));
        let last = pieces.len().saturating_sub(usize::from(!outcome.bare_end));
        for piece in &pieces[..if breaks_off { pieces.len().min(1) } else { last }] {
            said += piece.len();
            events.push(self.response(candidate(&[json!({"text": piece})], None), &self.text[..said]));
        }
        if breaks_off {
            return events;
        }
        let finish = outcome.finish.as_deref().unwrap_or("STOP");
        let parts: Vec<_> = pieces[last..].iter().map(|piece| json!({"text": piece})).collect();
        let mut end = candidate(&parts, Some(finish));
        if outcome.bare_end {
            // As Gemini ends a reply that it stopped: https://ai.google.dev/api/generate-content#FinishReason
            end["candidates"][0].as_object_mut().map(|candidate| candidate.remove("content"));
        } else if let Some(part) = end.pointer_mut("/candidates/0/content/parts/0")
            && !self.thoughts.is_empty()
        {
            part["thoughtSignature"] = "c3RhbmQtaW4=".into();
        }
        if ["SAFETY", "PROHIBITED_CONTENT"].contains(&finish) {
            end["candidates"][0]["safetyRatings"] = ratings("HIGH", true);
        } else {
            end["candidates"][0]["safetyRatings"] = ratings("NEGLIGIBLE", false);
        }
        events.push(self.response(end, &self.text));
        events
    }

    /// Adds the members of every response. As in proto JSON, a count of nought is absent.
    fn response(&self, mut members: Value, said: &str) -> Value {
        let counts = [
            ("promptTokenCount", self.prompt_tokens),
            ("candidatesTokenCount", tokens(said)),
            ("thoughtsTokenCount", tokens(&self.thoughts)),
            ("totalTokenCount", self.prompt_tokens + tokens(said) + tokens(&self.thoughts)),
        ];
        for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            members["usageMetadata"][name] = count.into();
        }
        members["modelVersion"] = self.model.as_str().into();
        members["responseId"] = "stand-in".into();
        members
    }
}

/// Ends the connection after the last event, or never.
fn end(hang: bool) -> impl Stream<Item = Bytes> {
    stream::once(async move {
        if hang {
            pending::<Infallible>().await;
        }
    })
    .filter_map(async |()| None)
}

fn data(response: &Value) -> Bytes {
    format!("data: {response}\r\n\r\n").into()
}

/// Makes a response with one candidate. Without parts its content has a role only, as an empty STOP of Gemini's.
fn candidate(parts: &[Value], finish: Option<&str>) -> Value {
    let mut candidate = json!({"content": {"role": "model"}, "index": 0});
    if !parts.is_empty() {
        candidate["content"]["parts"] = parts.into();
    }
    if let Some(finish) = finish {
        candidate["finishReason"] = finish.into();
    }
    json!({"candidates": [candidate]})
}

fn ratings(probability: &str, blocked: bool) -> Value {
    let mut rating = json!({"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": probability});
    if blocked {
        rating["blocked"] = true.into();
    }
    json!([rating])
}

/// Cuts a text into about equal pieces; into fewer when it has not as many characters.
fn pieces(text: &str, count: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut rest, size) = (text, text.len().div_ceil(count.max(1)));
    while !rest.is_empty() {
        let (piece, left) = rest.split_at(rest.ceil_char_boundary(size));
        pieces.push(piece);
        rest = left;
    }
    pieces
}

/// Counts about as many tokens as Gemini would.
pub(super) fn tokens(text: &str) -> usize {
    text.chars().count().div_ceil(4)
}
