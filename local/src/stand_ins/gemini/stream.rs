//! An answer as a stream of server-sent events, each a `GenerateContentResponse`.

use std::{convert::Infallible, future::pending, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use futures_util::stream::{self, Stream, StreamExt};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{error_body, script::Outcome};

/// Waits as long as the outcome says.
pub(super) async fn wait(outcome: &Outcome) {
    sleep(Duration::from_millis(outcome.delay_ms.unwrap_or_default())).await;
}

/// Streams what the outcome says.
pub(super) fn answer(model: &str, prompt: &str, request: &Value, outcome: Outcome) -> Response {
    let events: Vec<_> = events(model, prompt, request, &outcome)
        .iter()
        .map(data)
        .collect();
    let hang = outcome.hang;
    let delay = stream::once(async move { wait(&outcome).await }).filter_map(async |()| None);
    let body = delay
        .chain(stream::iter(events))
        .chain(end(hang))
        .map(Ok::<_, Infallible>);
    (
        [(CONTENT_TYPE, "text/event-stream")],
        Body::from_stream(body),
    )
        .into_response()
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

fn events(model: &str, prompt: &str, request: &Value, outcome: &Outcome) -> Vec<Value> {
    let text = outcome
        .text
        .clone()
        .unwrap_or_else(|| format!("echo: {prompt}"));
    let prompt_tokens = tokens(&request.to_string());
    let response = |mut members: Value, answer_tokens: usize| {
        members["usageMetadata"] = json!({
            "promptTokenCount": prompt_tokens,
            "candidatesTokenCount": answer_tokens,
            "totalTokenCount": prompt_tokens + answer_tokens,
        });
        members["modelVersion"] = model.into();
        members["responseId"] = "stand-in".into();
        members
    };
    let candidate = |text: &str, finish: Option<&str>| {
        let mut candidate =
            json!({"content": {"parts": [{"text": text}], "role": "model"}, "index": 0});
        if let Some(finish) = finish {
            candidate["finishReason"] = finish.into();
        }
        json!({"candidates": [candidate]})
    };

    if let Some(reason) = &outcome.block {
        return vec![response(
            json!({"promptFeedback": {"blockReason": reason}}),
            0,
        )];
    }
    let (first, second) = text.split_at(text.floor_char_boundary(text.len().div_ceil(2)));
    let beginning = response(candidate(first, None), tokens(first));
    if outcome.cut || outcome.hang {
        return vec![beginning];
    }
    if let Some(code) = outcome.error_in_stream {
        return vec![beginning, error_body(code, "The script says so.", None)];
    }
    let finish = outcome.finish.as_deref().unwrap_or("STOP");
    vec![
        beginning,
        response(candidate(second, Some(finish)), tokens(&text)),
    ]
}

/// About as many as Gemini would count.
fn tokens(text: &str) -> usize {
    text.chars().count().div_ceil(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(outcome: &Outcome) -> Vec<Value> {
        events("gemini", "grüße", &json!({"contents": []}), outcome)
    }

    #[test]
    fn a_whole_answer_comes_in_pieces_and_says_why_it_ended() {
        let events = made(&Outcome::default());
        let parts = events
            .iter()
            .map(|event| &event["candidates"][0]["content"]["parts"][0]["text"]);
        assert_eq!(
            parts.filter_map(Value::as_str).collect::<String>(),
            "echo: grüße"
        );
        assert!(events[0]["candidates"][0].get("finishReason").is_none());
        assert_eq!(events[1]["candidates"][0]["finishReason"], "STOP");
        assert!(events[1]["usageMetadata"]["totalTokenCount"].as_u64() > Some(0));
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
                error_in_stream: Some(503),
                ..Outcome::default()
            },
        ] {
            let events = made(&outcome);
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
