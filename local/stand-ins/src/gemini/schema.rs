//! Reads the fields of a request, and refuses those that the API does not have in the words of Google's JSON parser.
//!
//! It takes names in `camelCase` and in `snake_case`, one value for a list of one, and enum names in any case
//! (<https://protobuf.dev/programming-guides/json/>). The names are those of
//! `google/ai/generativelanguage/v1beta/{generative_service,content,safety}.proto` and of the official client.

use serde_json::{Map, Value};

/// The kind of value that a field holds.
#[derive(Clone, Copy)]
enum Kind {
    One(Message),
    Many(Message),
    Text,
    Number,
    Flag,
    /// A type and its names.
    Enum(&'static str, &'static [&'static str]),
    /// A value that the stand-in does not look into.
    Opaque,
}

#[derive(Clone, Copy)]
pub(super) struct Message {
    name: &'static str,
    fields: &'static [(&'static str, Kind)],
}

/// The body of `generateContent` and `streamGenerateContent`.
pub(super) const GENERATE: Message = Message {
    name: "GenerateContentRequest",
    fields: &[
        ("model", Kind::Text),
        ("system_instruction", Kind::One(CONTENT)),
        ("contents", Kind::Many(CONTENT)),
        ("generation_config", Kind::One(GENERATION_CONFIG)),
        ("safety_settings", Kind::Many(SAFETY_SETTING)),
        ("tools", Kind::Opaque),
        ("tool_config", Kind::Opaque),
        ("cached_content", Kind::Text),
        ("service_tier", Kind::Text),
        ("store", Kind::Flag),
    ],
};

/// The body of `countTokens`.
pub(super) const COUNT: Message = Message {
    name: "CountTokensRequest",
    fields: &[
        ("model", Kind::Text),
        ("contents", Kind::Many(CONTENT)),
        ("generate_content_request", Kind::One(GENERATE)),
    ],
};

const CONTENT: Message = Message { name: "Content", fields: &[("parts", Kind::Many(PART)), ("role", Kind::Text)] };

const PART: Message = Message {
    name: "Part",
    fields: &[
        ("text", Kind::Text),
        ("thought", Kind::Flag),
        ("thought_signature", Kind::Text),
        ("inline_data", Kind::Opaque),
        ("file_data", Kind::Opaque),
        ("function_call", Kind::Opaque),
        ("function_response", Kind::Opaque),
        ("executable_code", Kind::Opaque),
        ("code_execution_result", Kind::Opaque),
        ("video_metadata", Kind::Opaque),
        ("media_resolution", Kind::Opaque),
        ("part_metadata", Kind::Opaque),
    ],
};

const GENERATION_CONFIG: Message = Message {
    name: "GenerationConfig",
    fields: &[
        ("candidate_count", Kind::Number),
        ("stop_sequences", Kind::Opaque),
        ("max_output_tokens", Kind::Number),
        ("temperature", Kind::Number),
        ("top_p", Kind::Number),
        ("top_k", Kind::Number),
        ("seed", Kind::Number),
        ("presence_penalty", Kind::Number),
        ("frequency_penalty", Kind::Number),
        ("response_logprobs", Kind::Flag),
        ("logprobs", Kind::Number),
        ("response_mime_type", Kind::Text),
        ("response_schema", Kind::Opaque),
        ("response_json_schema", Kind::Opaque),
        ("response_modalities", Kind::Opaque),
        ("media_resolution", Kind::Opaque),
        ("speech_config", Kind::Opaque),
        ("image_config", Kind::Opaque),
        ("enable_enhanced_civic_answers", Kind::Flag),
        ("thinking_config", Kind::One(THINKING_CONFIG)),
    ],
};

const THINKING_CONFIG: Message = Message {
    name: "ThinkingConfig",
    fields: &[
        ("include_thoughts", Kind::Flag),
        ("thinking_budget", Kind::Number),
        ("thinking_level", Kind::Enum("ThinkingConfig.ThinkingLevel", &["MINIMAL", "LOW", "MEDIUM", "HIGH"])),
    ],
};

const SAFETY_SETTING: Message = Message {
    name: "SafetySetting",
    fields: &[
        (
            "category",
            Kind::Enum(
                "HarmCategory",
                &[
                    "HARM_CATEGORY_HARASSMENT",
                    "HARM_CATEGORY_HATE_SPEECH",
                    "HARM_CATEGORY_SEXUALLY_EXPLICIT",
                    "HARM_CATEGORY_DANGEROUS_CONTENT",
                    "HARM_CATEGORY_CIVIC_INTEGRITY",
                ],
            ),
        ),
        (
            "threshold",
            Kind::Enum(
                "SafetySetting.HarmBlockThreshold",
                &["BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH", "BLOCK_NONE", "OFF"],
            ),
        ),
    ],
};

/// Fields that are wrong, each with the parser's complaint.
type Violations = Vec<(String, String)>;

/// Reads a body, and returns it with every name in `snake_case` and a list wherever there may be several.
pub(super) fn read(body: &Value, message: Message) -> Result<Value, Violations> {
    let mut violations = Vec::new();
    let read = one(body, message, "", &mut violations);
    if violations.is_empty() { Ok(read) } else { Err(violations) }
}

fn one(value: &Value, message: Message, path: &str, violations: &mut Violations) -> Value {
    let Value::Object(members) = value else {
        violations.push(invalid(path, message.name, value));
        return Value::Null;
    };
    let mut read = Map::new();
    for (name, value) in members {
        let proto_name = snake_case(name);
        let Some((_, kind)) = message.fields.iter().find(|(known, _)| *known == proto_name) else {
            violations.push(unknown(name, path, "Cannot find field."));
            continue;
        };
        if matches!(kind, Kind::One(_)) && value.is_array() {
            violations.push(unknown(name, path, "Proto field is not repeating, cannot start list."));
            continue;
        }
        let below = if path.is_empty() { proto_name.clone() } else { format!("{path}.{proto_name}") };
        if !value.is_null() {
            read.insert(proto_name, field(value, *kind, &below, violations));
        }
    }
    Value::Object(read)
}

fn field(value: &Value, kind: Kind, path: &str, violations: &mut Violations) -> Value {
    let (fits, name) = match kind {
        Kind::One(message) => return one(value, message, path, violations),
        Kind::Many(message) => {
            let single = std::slice::from_ref(value);
            let items = value.as_array().map_or(single, Vec::as_slice).iter().enumerate();
            return items.map(|(index, item)| one(item, message, &format!("{path}[{index}]"), violations)).collect();
        }
        Kind::Opaque => (true, ""),
        Kind::Text => (value.is_string(), "TYPE_STRING"),
        Kind::Number => (value.is_number(), "TYPE_INT32"),
        Kind::Flag => (value.is_boolean(), "TYPE_BOOL"),
        Kind::Enum(name, names) => {
            let known = value.as_str().is_some_and(|value| names.iter().any(|name| name.eq_ignore_ascii_case(value)));
            (known, name)
        }
    };
    if !fits {
        violations.push(invalid(path, name, value));
    }
    value.clone()
}

fn unknown(name: &str, path: &str, reason: &str) -> (String, String) {
    let place = if path.is_empty() { String::new() } else { format!(" at '{path}'") };
    (path.to_owned(), format!("Invalid JSON payload received. Unknown name \"{name}\"{place}: {reason}"))
}

fn invalid(path: &str, name: &str, value: &Value) -> (String, String) {
    let package =
        if name.starts_with("TYPE_") { "" } else { "type.googleapis.com/google.ai.generativelanguage.v1beta." };
    (path.to_owned(), format!("Invalid value at '{path}' ({package}{name}), {value}"))
}

fn snake_case(name: &str) -> String {
    name.chars().fold(String::new(), |mut snake, character| {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
        snake
    })
}
