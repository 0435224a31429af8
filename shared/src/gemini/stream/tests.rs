//! What a stream means, down to the one that breaks off.

use bytes::Bytes;
use futures_util::stream;
use proptest::{collection::vec, prelude::*, sample::Index};
use tokio::runtime::Builder;

use super::*;
use crate::gemini::Trouble;

fn outcome_of(events: &[&str]) -> (Outcome, Written) {
    outcome_of_chunks(events.iter().map(|data| format!("data: {data}\r\n\r\n")))
}

fn outcome_of_chunks(chunks: impl IntoIterator<Item: AsRef<[u8]>>) -> (Outcome, Written) {
    let draft = Draft::default();
    let chunks = chunks.into_iter().map(|chunk| Ok(Bytes::copy_from_slice(chunk.as_ref())));
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let outcome = runtime.block_on(read(stream::iter(chunks), &draft));
    (outcome, draft.borrow().clone())
}

const HELLO: &str = r#"{"candidates":[{"content":{"parts":[{"text":"Hé"},{"text":"hm","thought":true}]}}]}"#;
const STOP: &str = r#"{"candidates":[{"content":{"parts":[{"text":"llo 🌉"}]},"finishReason":"STOP"}],
    "usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2,"thoughtsTokenCount":5},"modelVersion":"g-1"}"#;

#[test]
fn pieces_make_a_reply_without_the_thoughts() {
    let written =
        Written {
            text: "Héllo 🌉".into(), model: Some("g-1".into()), prompt_tokens: Some(3), reply_tokens: Some(7)
        };
    assert_eq!(outcome_of(&[HELLO, &STOP.replace('\n', "")]), (Outcome::Finished("STOP".into()), written));
}

#[test]
fn a_reply_is_the_same_wherever_its_bytes_are_cut_even_within_a_character() {
    let whole = whole().into_bytes();
    for end in 0..whole.len() {
        let (beginning, rest) = whole.split_at(end);
        assert_eq!(outcome_of_chunks([beginning, rest]), outcome_of_chunks([&whole]), "{end}");
    }
}

#[test]
fn a_stream_without_a_finish_reason_is_no_reply() {
    assert!(matches!(outcome_of(&[HELLO]).0, Outcome::Deferred { .. }));
    assert!(matches!(outcome_of(&[]).0, Outcome::Deferred { .. }));
}

#[test]
fn an_error_in_the_stream_decides() {
    let error = r#"{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}"#;
    assert!(matches!(outcome_of(&[HELLO, error]).0, Outcome::Deferred { .. }));
    let error = r#"{"error":{"code":400,"message":"bad","status":"INVALID_ARGUMENT"}}"#;
    assert!(matches!(outcome_of(&[HELLO, error]).0, Outcome::Rejected(_)));
}

#[test]
fn refusals_keep_their_reason() {
    for (event, reason) in [
        (r#"{"promptFeedback":{"blockReason":"JAILBREAK"}}"#, "JAILBREAK"),
        (r#"{"candidates":[{"finishReason":"SAFETY"}]}"#, "SAFETY"),
        (r#"{"candidates":[{"finishReason":"SOMETHING_NEW"}]}"#, "SOMETHING_NEW"),
        (r#"{"candidates":[{"finishReason":"MAX_TOKENS"}]}"#, "MAX_TOKENS"),
    ] {
        assert_eq!(outcome_of(&[event]).0, Outcome::Refused(reason.into()));
    }
}

#[test]
fn a_reply_at_the_limit_is_a_reply() {
    let event = r#"{"candidates":[{"content":{"parts":[{"text":"Once"}]},"finishReason":"MAX_TOKENS"}]}"#;
    let cut = Outcome::Finished("MAX_TOKENS".into());
    assert_eq!(outcome_of(&[event]), (cut, Written::text("Once".into())));
}

#[test]
fn a_reply_that_is_empty_or_malformed_is_blank() {
    for (reason, blank) in [("STOP", "EMPTY_REPLY"), ("OTHER", "OTHER"), ("MALFORMED_RESPONSE", "MALFORMED_RESPONSE")] {
        let event = format!(r#"{{"candidates":[{{"finishReason":"{reason}"}}]}}"#);
        let blank = Outcome::Blank(blank.into());
        assert_eq!(outcome_of(&[&event]).0, blank);
    }
    let thought = r#"{"candidates":[{"content":{"parts":[{"text":"hm","thought":true}]},"finishReason":"STOP"}]}"#;
    let blank = (Outcome::Blank("EMPTY_REPLY".into()), Written::default());
    assert_eq!(outcome_of(&[thought]), blank);
}

/// The events of a reply that says "Héllo", with this finish reason.
fn ended_with(reason: &str) -> [String; 2] {
    let text = r#"{"candidates":[{"content":{"parts":[{"text":"Héllo"}]}}]}"#;
    [text.to_owned(), format!(r#"{{"candidates":[{{"finishReason":"{reason}"}}]}}"#)]
}

fn outcome_with(reason: &str) -> Outcome {
    outcome_of(&ended_with(reason).each_ref().map(String::as_str)).0
}

#[test]
fn a_text_that_was_seen_is_kept_whatever_ended_it_unless_it_must_not_be_shown() {
    for reason in ["OTHER", "RECITATION", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "LANGUAGE", "NEW"] {
        assert_eq!(outcome_with(reason), Outcome::Finished(reason.into()));
    }
    for reason in WITHDRAWING {
        assert_eq!(outcome_with(reason), Outcome::Refused(reason.into()));
    }
}

#[test]
fn a_reply_of_blanks_is_blank() {
    for blank in [r"\n", "  ", r"\u200b", r"\u2060\t"] {
        let event =
            format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{blank}"}}]}},"finishReason":"STOP"}}]}}"#);
        assert_eq!(outcome_of(&[&event]).0, Outcome::Blank("EMPTY_REPLY".into()), "{blank}");
    }
}

#[test]
fn null_is_read_as_absent_and_a_count_that_cannot_be_read_costs_no_reply() {
    for event in [
        r#"{"candidates":null,"usageMetadata":null,"promptFeedback":null,"error":null,"modelVersion":null}"#,
        r#"{"candidates":[{"content":{"parts":null},"finishReason":null}]}"#,
        r#"{"candidates":[{"content":null}]}"#,
        r#"{"candidates":[null,{"content":{"parts":[null,{"text":null,"thought":null}]}}]}"#,
        r#"{"usageMetadata":{"promptTokenCount":"many","candidatesTokenCount":1e99}}"#,
        r#"{"usageMetadata":[]}"#,
    ] {
        let (outcome, written) = outcome_of(&[HELLO, event, &STOP.replace('\n', "")]);
        assert_eq!((outcome, written.text.as_str()), (Outcome::Finished("STOP".into()), "Héllo 🌉"), "{event}");
    }
}

#[test]
fn nothing_that_follows_the_end_of_a_reply_costs_it() {
    let whole = whole();
    for aftermath in [
        "data: [DONE]\n\n",
        "data: {\n\n",
        "data: {\"error\":{\"code\":503}}\n\n",
        "data: {\"error\":{\"code\":400}}\n\n",
        "{\"error\":{\"code\":400}}\n",
        "<html>",
    ] {
        let (outcome, written) = outcome_of_chunks([&whole, aftermath]);
        assert_eq!((outcome, written.text.as_str()), (Outcome::Finished("STOP".into()), "Héllo 🌉"), "{aftermath}");
    }
}

#[test]
fn a_byte_order_mark_a_list_and_a_split_pair_of_surrogates_are_read() {
    let list = format!("data: [{}]\n\n", STOP.replace('\n', ""));
    let half = |half| format!(r#"data: {{"candidates":[{{"content":{{"parts":[{{"text":"{half}"}}]}}}}]}}"#) + "\n\n";
    let chunks = ["\u{feff}".to_owned() + &half(r"\ud83d"), half(r"\ude00"), list];
    let (outcome, written) = outcome_of_chunks(chunks);
    assert_eq!((outcome, written.text.as_str()), (Outcome::Finished("STOP".into()), "😀llo 🌉"));
}

#[test]
fn an_error_between_the_events_decides() {
    let unframed = |error: &str| {
        let error: serde_json::Value = serde_json::from_str(error).unwrap();
        let hello = format!("data: {HELLO}\r\n\r\n");
        [
            outcome_of_chunks([&hello, &format!("{error:#}\n")]).0,
            outcome_of_chunks([&hello, &format!("[{error:#}]\n")]).0,
            outcome_of_chunks([&hello, &format!(",\r\n{error:#}\r\n]")]).0,
        ]
    };
    let error = r#"{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}"#;
    for outcome in unframed(error) {
        let overload = Trouble::Overload;
        assert!(matches!(outcome, Outcome::Deferred { trouble, .. } if trouble == overload));
    }
    let error = r#"{"error":{"code":400,"message":"bad","status":"INVALID_ARGUMENT"}}"#;
    for outcome in unframed(error) {
        assert!(matches!(outcome, Outcome::Rejected(_)));
    }
}

#[test]
fn an_endless_reply_is_cut_at_a_character() {
    // Three bytes a character, which do not divide a megabyte.
    let piece = "語".repeat(100_000);
    let event = format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{piece}"}}]}}}}]}}"#);
    let event = format!("data: {event}\n\n");
    let (outcome, written) = outcome_of_chunks(std::iter::repeat(event));
    assert_eq!(outcome, Outcome::Finished("MAX_TOKENS".into()));
    assert_eq!(written.text.len(), LONGEST_REPLY / 3 * 3);
}

#[test]
fn what_never_ends_is_given_up() {
    for piece in ["x", "data: x", "data: x\n", "x\n"] {
        let piece = piece.repeat(10_000);
        let (outcome, _) = outcome_of_chunks(std::iter::repeat(piece));
        assert!(matches!(outcome, Outcome::Deferred { .. }));
    }
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
        let whole = whole().into_bytes();
        let beginning = &whole[..end.index(whole.len())];
        let outcome = outcome_of_chunks([beginning]);
        if !matches!(outcome.0, Outcome::Deferred { .. }) {
            prop_assert_eq!(outcome, outcome_of_chunks([&whole]));
        }
    }
}
