//! A reply: whole, or as a stream of server-sent events, each a `GenerateContentResponse`.

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

/// How many pieces a reply comes in, if the script does not say.
const PIECES: usize = 2;

/// Waits as long as the outcome says.
pub(super) async fn wait(outcome: &Outcome) {
    sleep(Duration::from_millis(outcome.delay_ms.unwrap_or_default())).await;
}

/// What the outcome has the model say.
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
            text: outcome
                .text
                .clone()
                .unwrap_or_else(|| format!("echo: {prompt}")),
        }
    }

    /// The one response of `generateContent`.
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

    /// Streams what the outcome says.
    pub(super) fn stream(self, outcome: Outcome) -> Response {
        let events: Vec<_> = self.events(&outcome).iter().map(data).collect();
        let endless = if outcome.endless { usize::MAX } else { 0 };
        let piece =
            data(&self.response(candidate(&[json!({"text": self.text})], None), &self.text));
        let failure = |code| Failure::scripted(code, &outcome, &self.model).body();
        let framed = outcome.error_in_stream.map(|code| data(&failure(code)));
        let unframed = outcome
            .unframed_error
            .map(|code| Bytes::from(format!("{:#}\n", failure(code))));
        let hang = outcome.hang;
        let pause = Duration::from_millis(outcome.pause_ms.unwrap_or_default());
        let events =
            stream::iter(events.into_iter().enumerate()).then(move |(n, event)| async move {
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
        (
            [(CONTENT_TYPE, "text/event-stream")],
            Body::from_stream(body),
        )
            .into_response()
    }

    /// The responses, up to where the outcome breaks off.
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
        for piece in &pieces[..if breaks_off {
            pieces.len().min(1)
        } else {
            last
        }] {
            said += piece.len();
            events.push(self.response(
                candidate(&[json!({"text": piece})], None),
                &self.text[..said],
            ));
        }
        if breaks_off {
            return events;
        }
        let finish = outcome.finish.as_deref().unwrap_or("STOP");
        let parts: Vec<_> = pieces[last..]
            .iter()
            .map(|piece| json!({"text": piece}))
            .collect();
        let mut end = candidate(&parts, Some(finish));
        if outcome.bare_end {
            // As Gemini ends a reply that it stopped: https://ai.google.dev/api/generate-content#FinishReason
            end["candidates"][0]
                .as_object_mut()
                .map(|candidate| candidate.remove("content"));
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

    /// Adds what every response says. As in proto JSON, a count of nought is absent.
    fn response(&self, mut members: Value, said: &str) -> Value {
        let counts = [
            ("promptTokenCount", self.prompt_tokens),
            ("candidatesTokenCount", tokens(said)),
            ("thoughtsTokenCount", tokens(&self.thoughts)),
            (
                "totalTokenCount",
                self.prompt_tokens + tokens(said) + tokens(&self.thoughts),
            ),
        ];
        for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            members["usageMetadata"][name] = count.into();
        }
        members["modelVersion"] = self.model.as_str().into();
        members["responseId"] = "stand-in".into();
        members
    }
}

/// The connection ends after the last event, or never.
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

/// A response with one candidate. Without parts its content has a role only, as an empty STOP of Gemini's.
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
    let mut rating =
        json!({"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": probability});
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

/// About as many as Gemini would count.
pub(super) fn tokens(text: &str) -> usize {
    text.chars().count().div_ceil(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(outcome: &Outcome) -> Vec<Value> {
        Reply::new("gemini", "grüße", &json!({"contents": []}), outcome).events(outcome)
    }

    fn text(events: &[Value]) -> String {
        let parts = events
            .iter()
            .filter_map(|event| event["candidates"][0]["content"]["parts"].as_array());
        let parts = parts.flatten().filter(|part| part["thought"] != true);
        parts.filter_map(|part| part["text"].as_str()).collect()
    }

    #[test]
    fn a_whole_reply_comes_in_pieces_and_says_why_it_ended() {
        for pieces in [None, Some(1), Some(7), Some(100)] {
            let events = made(&Outcome {
                pieces,
                ..Outcome::default()
            });
            assert_eq!(text(&events), "echo: grüße");
            let (last, before) = events.split_last().unwrap();
            assert_eq!(before.len(), pieces.unwrap_or(2).min(11) - 1);
            assert!(
                before
                    .iter()
                    .all(|event| event["candidates"][0].get("finishReason").is_none())
            );
            assert_eq!(last["candidates"][0]["finishReason"], "STOP");
            assert!(last["usageMetadata"]["totalTokenCount"].as_u64() > Some(0));
        }
    }

    #[test]
    fn thoughts_come_first_and_are_counted_apart() {
        let events = made(&Outcome {
            thoughts: Some("Hm. A greeting.".into()),
            ..Outcome::default()
        });
        assert_eq!(
            events[0]["candidates"][0]["content"]["parts"][0]["thought"],
            true
        );
        assert_eq!(text(&events), "echo: grüße");
        let last = events.last().unwrap();
        assert_eq!(last["usageMetadata"]["thoughtsTokenCount"], 4);
        assert!(last["candidates"][0]["content"]["parts"][0]["thoughtSignature"].is_string());
    }

    #[test]
    fn a_reply_may_end_without_text_or_without_content() {
        let empty = made(&Outcome {
            text: Some(String::new()),
            ..Outcome::default()
        });
        assert_eq!(empty.len(), 1);
        assert_eq!(
            empty[0]["candidates"][0]["content"],
            json!({"role": "model"})
        );
        let bare = made(&Outcome {
            bare_end: true,
            ..Outcome::default()
        });
        assert_eq!(text(&bare), "echo: grüße");
        assert!(
            bare.last().unwrap()["candidates"][0]
                .get("content")
                .is_none()
        );
    }

    #[test]
    fn what_breaks_off_has_no_finish_reason() {
        for outcome in [
            Outcome {
                cut: true,
                ..Outcome::default()
            },
            Outcome {
                hang: true,
                ..Outcome::default()
            },
            Outcome {
                endless: true,
                ..Outcome::default()
            },
            Outcome {
                error_in_stream: Some(503),
                ..Outcome::default()
            },
            Outcome {
                unframed_error: Some(503),
                ..Outcome::default()
            },
        ] {
            let events = made(&outcome);
            assert_eq!(events.len(), 1);
            assert!(!format!("{events:?}").contains("finishReason"));
        }
        let blocked = made(&Outcome {
            block: Some("SAFETY".into()),
            ..Outcome::default()
        });
        assert_eq!(blocked[0]["promptFeedback"]["blockReason"], "SAFETY");
        assert!(blocked[0].get("candidates").is_none());
    }
}
