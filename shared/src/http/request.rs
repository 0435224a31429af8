//! Parses a request's parts. A value that these functions return is well-formed.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

use lambda_http::{Request, RequestExt, http::header};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;

use super::fields;
use crate::{Error, Result, error::InvalidField};

/// Limits the request body. What limits a message is its 16 000 characters, of which each takes up to 12 bytes where a
/// client escapes it (`\ud83d\ude8b`): 192 000 bytes.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

/// Parses the JSON body. Its fields have types that hold their rules, so a value that exists is acceptable.
///
/// # Errors
/// - [`Error::TooLarge`] above [`MAX_BODY_BYTES`],
/// - [`Error::Encoded`] when it is compressed,
/// - [`Error::NotJson`] unless the content type says JSON,
/// - [`Error::Malformed`] for what is not JSON,
/// - [`Error::Invalid`] with every field that is missing, unknown, of another type or outside its rules.
pub fn json<T: DeserializeOwned>(request: &Request) -> Result<T> {
    let body: &[u8] = request.body().as_ref();
    if body.len() > MAX_BODY_BYTES {
        return Err(Error::TooLarge(MAX_BODY_BYTES));
    }
    if is_encoded(request) {
        return Err(Error::Encoded);
    }
    if !is_json(request) {
        return Err(Error::NotJson);
    }
    if !body.trim_ascii_start().starts_with(b"{") {
        // serde would read an array of the fields' values as the struct.
        serde_json::from_slice::<IgnoredAny>(body).map_err(|error| malformed(&error))?;
        return Err(Error::invalid("body", "must be a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => fields::invalid::<T>(body).map_or_else(|error| malformed(&error), Error::Invalid),
        _ => malformed(&error),
    })
}

/// Parses the JSON body as [`json`] does, but takes an empty one for the default.
///
/// # Errors
/// As [`json`].
pub fn json_or_default<T: DeserializeOwned + Default>(request: &Request) -> Result<T> {
    if request.body().is_empty() {
        return Ok(T::default());
    }
    json(request)
}

fn is_json(request: &Request) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    content_type
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// Returns whether the body has a content coding. Unpacking it would let a small body become any size.
fn is_encoded(request: &Request) -> bool {
    let codings = request.headers().get_all(header::CONTENT_ENCODING).iter();
    let mut codings = codings.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    !codings.all(|coding| coding.trim_ascii().is_empty() || coding.trim_ascii().eq_ignore_ascii_case(b"identity"))
}

fn malformed(error: &serde_json::Error) -> Error {
    Error::Malformed(format!("The body is not valid JSON: {error}."))
}

/// Parses a path parameter.
///
/// # Errors
/// [`Error::NotFound`] of `resource` when it does not parse: such an id names nothing that exists.
pub fn path<T: FromStr>(request: &Request, name: &str, resource: &'static str) -> Result<T> {
    request
        .path_parameters_ref()
        .and_then(|parameters| parameters.first(name))
        .and_then(|value| value.parse().ok())
        .ok_or(Error::NotFound(resource))
}

/// Parses the id between `before` and `after` in the path of a request to a function URL, which knows no routes. AWS
/// writes such a URL with a slash at its end, so the path may begin with more than one.
///
/// # Errors
/// [`Error::NotFound`] of `endpoint` for another path, or of `resource` as [`path`].
pub fn raw_path<T: FromStr>(request: &Request, (before, after): (&str, &str), resource: &'static str) -> Result<T> {
    let path = request.raw_http_path().trim_start_matches('/');
    let id = path.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).ok_or(Error::NotFound("endpoint"))?;
    id.parse().map_err(|_| Error::NotFound(resource))
}

/// Parses a query parameter, or returns its default when it is absent.
///
/// # Errors
/// [`Error::Invalid`] when it does not parse or lies outside `range`.
pub fn query<T>(request: &Request, name: &str, range: RangeInclusive<T>, default: T) -> Result<T>
where
    T: FromStr + PartialOrd + Display,
{
    let Some(value) = query_text(request, name) else {
        return Ok(default);
    };
    match value.parse() {
        Ok(value) if range.contains(&value) => Ok(value),
        _ => Err(Error::invalid(name, format!("must be a number from {} to {}", range.start(), range.end()))),
    }
}

/// Parses a query parameter that names one of `choices`, of which the first is the default.
///
/// # Errors
/// [`Error::Invalid`] when it names none of them.
pub fn query_choice<T: Copy>(request: &Request, name: &str, choices: &[(&str, T)]) -> Result<T> {
    let chosen = match query_text(request, name) {
        Some(text) => choices.iter().find(|(choice, _)| *choice == text),
        None => choices.first(),
    };
    chosen.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(choice, _)| *choice).collect();
        Error::invalid(name, format!("must be one of: {}", names.join(", ")))
    })
}

/// Refuses query parameters other than `known`.
///
/// # Errors
/// [`Error::Invalid`] with the name of each that is not known.
pub(super) fn refuse_unknown_query(request: &Request, known: &[&str]) -> Result<()> {
    let Some(query) = request.query_string_parameters_ref() else {
        return Ok(());
    };
    let unknown: Vec<_> = query
        .iter()
        .map(|(name, _)| name)
        .filter(|name| !known.contains(name))
        .map(|name| InvalidField { field: name.to_owned(), message: "is not a parameter of this operation".into() })
        .collect();
    if unknown.is_empty() { Ok(()) } else { Err(Error::Invalid(unknown)) }
}

/// Returns a query parameter's text.
pub(super) fn query_text<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
    request.query_string_parameters_ref()?.first(name)
}

/// Reads the `Idempotency-Key` header, if there is one: 1 to 255 visible ASCII characters.
///
/// # Errors
/// [`Error::Malformed`] for any other value.
pub fn idempotency_key(request: &Request) -> Result<Option<&str>> {
    let Some(value) = request.headers().get("idempotency-key") else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(key) if (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) => Ok(Some(key)),
        _ => Err(Error::Malformed("The Idempotency-Key header must be 1 to 255 visible ASCII characters.".into())),
    }
}

#[cfg(test)]
mod tests {
    //! Tests which paths a function URL has.

    use super::*;

    #[test]
    fn a_path_may_begin_with_more_than_one_slash_and_has_no_other_freedom() {
        let id = |path: &str| {
            let request = Request::default().with_raw_http_path(path);
            raw_path::<u32>(&request, ("chatroom/", "/stream"), "chatroom").map_err(|error| error.to_string())
        };
        for path in ["/chatroom/7/stream", "//chatroom/7/stream", "///chatroom/7/stream"] {
            assert_eq!(id(path), Ok(7), "{path}");
        }
        for path in ["/", "", "/chatroom//7/stream", "/chatroom/7/stream/", "/x/chatroom/7/stream", "/chatroom/7"] {
            assert!(id(path).is_err(), "{path}");
        }
    }
}
