//! Writes the AI SDK's UI message stream, version 1, as server-sent events.
//!
//! Clients of earlier versions refuse types and members that they do not know, so there are no others. The schema is
//! `uiMessageChunkSchema` of the npm package `ai`.

use serde::Serialize;
use shared::{
    domain::{Failure, Message, MessageId},
    http::{self, ChunkWriter},
    messages::Position,
};

/// The id of the only part of a message.
const PART: &str = "reply";

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
enum Event<'a> {
    Start { message_id: MessageId, message_metadata: &'a Message },
    TextStart { id: &'static str },
    TextDelta { id: &'static str, delta: &'a str },
    TextEnd { id: &'static str },
    Finish { finish_reason: &'static str, message_metadata: &'a Message },
    Abort { reason: &'a str },
    DataFailure { data: &'a Failure },
    Error { error_text: &'a str },
}

/// Writes the events of one message.
pub struct EventWriter {
    chunks: ChunkWriter,
    /// How much the client has, which every event says in its `id:`.
    pub position: Position,
}

impl EventWriter {
    /// Writes events after `position`.
    pub fn new(chunks: ChunkWriter, position: Position) -> Self {
        Self { chunks, position }
    }

    /// Begins the message, as every connection does.
    pub fn start(&self, message: &Message) {
        self.write(&Event::Start { message_id: message.id, message_metadata: message });
        self.write(&Event::TextStart { id: PART });
    }

    /// Appends text to the reply.
    pub fn text(&mut self, delta: &str) {
        if delta.is_empty() {
            return;
        }
        self.position.characters += delta.chars().count();
        self.write(&Event::TextDelta { id: PART, delta });
    }

    /// Ends with a reply.
    pub fn finish(&self, finish_reason: &str, message: &Message) {
        self.write(&Event::TextEnd { id: PART });
        self.write(&Event::Finish {
            finish_reason: match finish_reason {
                "STOP" => "stop",
                "MAX_TOKENS" | "TIME_LIMIT" => "length",
                _ => "other",
            },
            message_metadata: message,
        });
        self.done();
    }

    /// Ends because the user asked for it.
    pub fn abort(&self, reason: &str) {
        self.write(&Event::TextEnd { id: PART });
        self.write(&Event::Abort { reason });
        self.done();
    }

    /// Ends without a reply.
    pub fn fail(&self, failure: &Failure) {
        self.write(&Event::TextEnd { id: PART });
        self.write(&Event::DataFailure { data: failure });
        self.write(&Event::Error { error_text: &failure.message });
        self.done();
    }

    fn done(&self) {
        self.chunks.write(http::DONE);
    }

    fn write(&self, event: &Event) {
        let Ok(json) = serde_json::to_string(event) else {
            return; // strings and numbers can always be written
        };
        let (position, json) = (self.position, on_one_line(json));
        self.chunks.write(format!("id: {position}\ndata: {json}\n\n"));
    }
}

/// Escapes the characters that JSON allows in a string and some readers of streams take for the end of a line: Python's
/// `splitlines`, and so httpx and httpx-sse. JSON has them nowhere else.
fn on_one_line(json: String) -> String {
    const ENDS: [(char, &str); 3] = [('\u{85}', r"\u0085"), ('\u{2028}', r"\u2028"), ('\u{2029}', r"\u2029")];
    if !json.contains(ENDS.map(|(end, _)| end)) {
        return json;
    }
    ENDS.iter().fold(json, |json, (end, escape)| json.replace(*end, escape))
}

#[cfg(test)]
pub mod tests {
    //! The wire format, to the byte: older clients refuse what they do not know.

    use serde_json::{Value, json};
    use shared::domain::ChatroomId;
    use time::OffsetDateTime;

    use super::*;

    /// Reads the positions and the data of the events in a part of a stream. The last one has neither.
    pub fn read(written: &str) -> Vec<(Option<Position>, Value)> {
        let events = written.split_terminator("\n\n").map(|event| {
            let Some((id, data)) = event.split_once('\n') else {
                assert_eq!(event, "data: [DONE]");
                return (None, json!("done"));
            };
            let position = id.strip_prefix("id: ").unwrap().parse().unwrap();
            let data = data.strip_prefix("data: ").unwrap();
            (Some(position), serde_json::from_str(data).unwrap())
        });
        events.collect()
    }

    fn message() -> Message {
        let created_at = OffsetDateTime::UNIX_EPOCH;
        Message::accepted(MessageId::new(), ChatroomId::new(), "hi".into(), created_at)
    }

    /// Writes a message from its beginning, and returns the positions and the data of its events.
    fn events(write: impl FnOnce(&mut EventWriter, &Message)) -> Vec<(usize, Value)> {
        let message = message();
        let (writer, mut chunks) = http::chunks();
        write(&mut EventWriter::new(writer, Position::beginning(message.id)), &message);
        let events = read(&chunks.written()).into_iter().map(|(position, data)| {
            assert!(position.is_none_or(|position| position.message == message.id));
            (position.map_or(0, |position| position.characters), data)
        });
        events.collect()
    }

    #[test]
    fn a_reply_has_a_start_its_text_and_an_end_and_no_other_members() {
        let events = events(|writer, message| {
            writer.start(message);
            for delta in ["Grü", "", "ße 🌉\n"] {
                writer.text(delta);
            }
            writer.finish("MAX_TOKENS", message);
        });
        let metadata = &events[0].1["messageMetadata"];
        let expected = [
            (0, json!({ "type": "start", "messageId": metadata["id"], "messageMetadata": metadata })),
            (0, json!({ "type": "text-start", "id": "reply" })),
            (3, json!({ "type": "text-delta", "id": "reply", "delta": "Grü" })),
            (8, json!({ "type": "text-delta", "id": "reply", "delta": "ße 🌉\n" })),
            (8, json!({ "type": "text-end", "id": "reply" })),
            (8, json!({ "type": "finish", "finishReason": "length", "messageMetadata": metadata })),
            (0, json!("done")),
        ];
        assert_eq!(events, expected);
    }

    #[test]
    fn whatever_a_reader_takes_for_the_end_of_a_line_an_event_has_only_its_own() {
        // What Python's `splitlines` splits at, and the rest of Unicode's separators.
        let text = "a\n\r\u{b}\u{c}\u{1c}\u{1d}\u{1e}\u{1f}\u{7f}\u{85}\u{2028}\u{2029}\u{feff}\u{0}b";
        let (writer, mut chunks) = http::chunks();
        EventWriter::new(writer, Position::beginning(MessageId::new())).text(text);
        let written = chunks.written();
        let ends = ['\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
        assert!(!written.contains(ends), "{written:?}");
        assert_eq!(written.matches('\n').count(), 3, "{written:?}");
        assert_eq!(read(&written)[0].1["delta"], text);
    }

    #[test]
    fn a_stop_and_a_failure_end_in_their_own_ways() {
        let stopped = events(|writer, _| writer.abort("STOPPED"));
        assert_eq!(stopped[1].1, json!({ "type": "abort", "reason": "STOPPED" }));
        let failed = events(|writer, _| writer.fail(&Failure::from("SAFETY".to_owned())));
        let message = &failed[2].1["errorText"];
        let failure = json!({ "reason": "SAFETY", "message": message });
        assert_eq!(failed[1].1, json!({ "type": "data-failure", "data": failure }));
        assert_eq!(failed[2].1, json!({ "type": "error", "errorText": message }));
    }
}
