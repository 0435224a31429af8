//! Reads Gemini's reply as it streams in: server-sent events, each a piece of the reply or an error.

use eventsource_stream::{Event, EventStreamError, Eventsource};
use futures_util::{Stream, StreamExt, TryStream};
use serde::Deserialize;

use super::{ApiError, Draft, Finish, Outcome, deferred};

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
pub(super) async fn read<S, B>(bytes: S, draft: &Draft) -> Outcome
where
    S: Stream<Item = Result<B, reqwest::Error>> + TryStream,
    B: AsRef<[u8]>,
{
    let mut finish = Finish::default();
    let mut blocked = None;
    let mut finished = None;
    let mut events = std::pin::pin!(bytes.eventsource());
    while let Some(event) = events.next().await {
        let chunk = match parse(event) {
            Ok(chunk) => chunk,
            Err(broken) => return broken,
        };
        if let Some(error) = chunk.error {
            return error.outcome(None);
        }
        blocked = chunk.prompt_feedback.block_reason.or(blocked);
        finish.note(&chunk.usage_metadata, chunk.model_version);
        if let Some(candidate) = chunk.candidates.into_iter().next() {
            let parts = candidate.content.parts.into_iter();
            for part in parts.filter(|part| !part.thought && !part.text.is_empty()) {
                // Postgres cannot store NUL.
                let text = part.text.replace('\0', "\u{fffd}");
                draft.send_modify(|draft| draft.push_str(&text));
            }
            finished = candidate.finish_reason.or(finished);
        }
    }
    let is_empty = draft.borrow().is_empty();
    conclude(finish, is_empty, blocked, finished)
}

fn parse(event: Result<Event, EventStreamError<reqwest::Error>>) -> Result<Chunk, Outcome> {
    let event = event.map_err(|error| deferred(format!("the stream broke: {error}")))?;
    serde_json::from_str(&event.data)
        .map_err(|error| deferred(format!("an event is not JSON: {error}")))
}

fn conclude(
    mut finish: Finish,
    is_empty: bool,
    blocked: Option<String>,
    finished: Option<String>,
) -> Outcome {
    if let Some(reason) = blocked {
        return Outcome::Refused(reason);
    }
    let Some(reason) = finished else {
        return deferred("the stream ended without a finish reason");
    };
    match reason.as_str() {
        "STOP" if is_empty => Outcome::Refused("EMPTY_ANSWER".into()),
        "MAX_TOKENS" if is_empty => Outcome::Refused(reason),
        "STOP" | "MAX_TOKENS" => {
            finish.reason = reason;
            Outcome::Finished(finish)
        }
        _ => Outcome::Refused(reason),
    }
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

#[cfg(test)]
mod tests {
    //! What a stream means, down to the one that breaks off.

    use std::convert::identity;

    use futures_util::{FutureExt, stream};
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;

    fn outcome_of(events: &[&str]) -> (Outcome, String) {
        outcome_of_chunks(events.iter().map(|data| format!("data: {data}\r\n\r\n")))
    }

    fn outcome_of_chunks(chunks: impl IntoIterator<Item: AsRef<[u8]>>) -> (Outcome, String) {
        let draft = Draft::default();
        let outcome = read(stream::iter(chunks.into_iter().map(Ok)), &draft)
            .now_or_never()
            .map_or_else(|| panic!("never waits"), identity);
        (outcome, draft.borrow().clone())
    }

    const HELLO: &str =
        r#"{"candidates":[{"content":{"parts":[{"text":"Hel"},{"text":"hm","thought":true}]}}]}"#;
    const STOP: &str = r#"{"candidates":[{"content":{"parts":[{"text":"lo"}]},"finishReason":"STOP"}],
        "usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2,"thoughtsTokenCount":5},"modelVersion":"g-1"}"#;

    #[test]
    fn pieces_make_a_reply_without_the_thoughts() {
        let (outcome, draft) = outcome_of(&[HELLO, &STOP.replace('\n', "")]);
        let finish = Finish {
            reason: "STOP".into(),
            model: Some("g-1".into()),
            prompt_tokens: Some(3),
            reply_tokens: Some(7),
        };
        assert_eq!(
            (outcome, draft.as_str()),
            (Outcome::Finished(finish), "Hello")
        );
    }

    #[test]
    fn a_stream_without_a_finish_reason_is_no_reply() {
        assert!(matches!(outcome_of(&[HELLO]).0, Outcome::Deferred { .. }));
        assert!(matches!(outcome_of(&[]).0, Outcome::Deferred { .. }));
    }

    #[test]
    fn an_error_in_the_stream_decides() {
        let error = r#"{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}"#;
        assert!(matches!(
            outcome_of(&[HELLO, error]).0,
            Outcome::Deferred { .. }
        ));
        let error = r#"{"error":{"code":400,"message":"bad","status":"INVALID_ARGUMENT"}}"#;
        assert!(matches!(
            outcome_of(&[HELLO, error]).0,
            Outcome::Rejected(_)
        ));
    }

    #[test]
    fn refusals_keep_their_reason() {
        for (event, reason) in [
            (
                r#"{"promptFeedback":{"blockReason":"JAILBREAK"}}"#,
                "JAILBREAK",
            ),
            (r#"{"candidates":[{"finishReason":"SAFETY"}]}"#, "SAFETY"),
            (
                r#"{"candidates":[{"finishReason":"SOMETHING_NEW"}]}"#,
                "SOMETHING_NEW",
            ),
            (
                r#"{"candidates":[{"finishReason":"STOP"}]}"#,
                "EMPTY_ANSWER",
            ),
            (
                r#"{"candidates":[{"finishReason":"MAX_TOKENS"}]}"#,
                "MAX_TOKENS",
            ),
        ] {
            assert_eq!(outcome_of(&[event]).0, Outcome::Refused(reason.into()));
        }
    }

    #[test]
    fn a_reply_at_the_limit_is_a_reply() {
        let event = r#"{"candidates":[{"content":{"parts":[{"text":"Once"}]},"finishReason":"MAX_TOKENS"}]}"#;
        let (outcome, draft) = outcome_of(&[event]);
        let finish = Finish {
            reason: "MAX_TOKENS".into(),
            ..Finish::default()
        };
        assert_eq!(
            (outcome, draft.as_str()),
            (Outcome::Finished(finish), "Once")
        );
    }

    /// A good stream, with some bytes of it changed.
    fn damaged() -> impl Strategy<Value = Vec<u8>> {
        let damages = vec((any::<Index>(), any::<u8>()), 0..4);
        damages.prop_map(|damages| {
            let mut bytes = whole().into_bytes();
            for (at, byte) in damages {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        })
    }

    fn whole() -> String {
        let stop = STOP.replace('\n', "");
        format!("data: {HELLO}\r\n\r\ndata: {stop}\r\n\r\n")
    }

    fn cut_at(bytes: &[u8], cuts: &[Index]) -> Vec<Vec<u8>> {
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        let mut start = 0;
        let chunk = |end| bytes[std::mem::replace(&mut start, end)..end].to_vec();
        ends.into_iter().map(chunk).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn any_bytes_mean_the_same_however_they_are_cut(
            bytes in prop_oneof![vec(any::<u8>(), 0..300), damaged()],
            cuts in vec(any::<Index>(), 0..8),
        ) {
            prop_assert_eq!(outcome_of_chunks(cut_at(&bytes, &cuts)), outcome_of_chunks([&bytes]));
        }

        #[test]
        fn a_stream_that_breaks_off_is_the_whole_answer_or_none(end in any::<Index>()) {
            let whole = whole();
            let beginning = &whole[..end.index(whole.len())];
            let outcome = outcome_of_chunks([beginning]);
            if !matches!(outcome.0, Outcome::Deferred { .. }) {
                prop_assert_eq!(outcome, outcome_of_chunks([&whole]));
            }
        }
    }
}
