//! Reads JSON as Gemini, and the relays in front of it, send it: more loosely than its reference says.
//!
//! A member may be `null` where it should be absent, an error may be the only element of a list, and a character
//! outside the Basic Multilingual Plane may have one half of its surrogate pair in one event and one in the next.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads a document: members that are null count as absent, and a list as its first element.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    let mut value: Value = serde_json::from_str(text)?;
    if let Value::Array(elements) = value {
        value = elements.into_iter().next().unwrap_or_default();
    }
    remove_nulls(&mut value);
    serde_json::from_value(value)
}

fn remove_nulls(value: &mut Value) {
    match value {
        Value::Array(elements) => {
            elements.retain(|element| !element.is_null());
            elements.iter_mut().for_each(remove_nulls);
        }
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(remove_nulls);
        }
        _ => {}
    }
}

/// Makes whole pairs of the surrogates in a document's escapes. A leading one without its partner moves from `carry`'s
/// document to the next: there it stands before the first escape that is its partner. What stays alone becomes U+FFFD.
pub(super) fn pair_surrogates(text: &str, carry: &mut Option<u16>) -> String {
    let mut paired = String::with_capacity(text.len() + 6);
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        paired.push_str(&rest[..at]);
        rest = &rest[at..];
        let (unit, length) = escape(rest);
        match unit {
            Some(high @ 0xd800..=0xdbff) => match escape(&rest[length..]) {
                (Some(0xdc00..=0xdfff), partner) => {
                    paired.push_str(&rest[..length + partner]);
                    rest = &rest[length + partner..];
                    continue;
                }
                _ => *carry = Some(high),
            },
            Some(low @ 0xdc00..=0xdfff) => match carry.take() {
                Some(high) => paired.extend([format!("\\u{high:04x}"), format!("\\u{low:04x}")]),
                None => paired.push('\u{fffd}'),
            },
            _ => paired.push_str(&rest[..length]),
        }
        rest = &rest[length..];
    }
    paired.push_str(rest);
    paired
}

/// Reads the escape that a text begins with: the UTF-16 unit that it stands for, if it is one, and its length.
fn escape(text: &str) -> (Option<u16>, usize) {
    let digits = text.strip_prefix("\\u").and_then(|rest| rest.get(..4));
    match digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()) {
        Some(unit) => (Some(unit), 6),
        None => (None, text.char_indices().nth(2).map_or(text.len(), |(at, _)| at)),
    }
}

#[cfg(test)]
mod tests {
    //! Tests what real streams were seen to contain.

    use super::*;

    #[test]
    fn null_is_absent_at_every_depth() {
        let value: Value = parse(r#"{"a":null,"b":[null,{"c":null,"d":1}]}"#).unwrap();
        assert_eq!(value, serde_json::json!({ "b": [{ "d": 1 }] }));
    }

    #[test]
    fn a_pair_that_is_split_over_two_documents_is_one_character_and_a_half_alone_is_replaced() {
        let mut carry = None;
        let documents = [r#""a\\ud83d \ud83d""#, r#""\ude00b""#, r#""\ude00c\ud83d\ude00""#];
        let texts: Vec<String> = documents
            .iter()
            .map(|document| serde_json::from_str(&pair_surrogates(document, &mut carry)).unwrap())
            .collect();
        assert_eq!(texts, ["a\\ud83d ", "😀b", "\u{fffd}c😀"]);
    }
}
