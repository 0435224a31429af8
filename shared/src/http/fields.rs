//! Finds everything that is wrong with a body, where serde stops at the first field that it cannot read: reads each
//! field once more, on its own. The messages are for people who have never heard of serde.

use std::{fmt, iter};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, IntoDeserializer, MapAccess, Visitor, value::MapDeserializer},
    forward_to_deserialize_any,
};
use serde_json::{Error, Value};

use crate::error::InvalidField;

/// Lists what keeps `body` from being a `T`: the fields of `T` in their order, then those that it does not have.
///
/// # Errors
/// When the body is no JSON object.
pub(super) fn invalid<T: DeserializeOwned>(body: &[u8]) -> Result<Vec<InvalidField>, Error> {
    let Members(members) = serde_json::from_slice(body)?;
    let mut known: &[&str] = &[];
    let _ = T::deserialize(Shape(&mut known));
    let needs_nothing = T::deserialize(Value::Object(serde_json::Map::new())).is_ok();

    let own = known.iter().filter_map(|&name| {
        let mut values = members.iter().filter(|(member, _)| member == name);
        let message = match (values.next(), values.next()) {
            (Some(_), Some(_)) => Some("is there twice".into()),
            (Some((_, value)), None) => problem::<T>(name, value.clone()),
            (None, _) if needs_nothing => None,
            (None, _) => problem::<T>(name, Absent),
        };
        Some((name, message?))
    });
    let surplus = members.iter().map(|(name, _)| name.as_str()).filter(|name| !known.contains(name)).map(|name| {
        let message = format!("is unknown; the fields are: {}", known.join(", "));
        (name, message)
    });
    let all = own.chain(surplus).map(|(field, message)| InvalidField { field: field.to_owned(), message });
    Ok(all.collect())
}

/// Says what is wrong with the value of a field of `T`, if anything.
fn problem<T: DeserializeOwned>(name: &'static str, value: impl IntoDeserializer<'static, Error>) -> Option<String> {
    let alone = MapDeserializer::new(iter::once((name, value)));
    let error = T::deserialize(alone).err()?.to_string();
    if error.starts_with("missing field") {
        return None; // another one, left out here
    }
    let wrong_type = error.strip_prefix("invalid ");
    let expected = wrong_type.and_then(|text| text.split_once(", expected "));
    Some(match expected {
        None => error,
        Some((_, "a string")) => "must be text".into(),
        Some((_, "a boolean")) => "must be true or false".into(),
        Some((_, expected)) => format!("must be {expected}"),
    })
}

/// The members of an object, also those with the same name.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

/// Learns the names of a struct's fields, which it gives its deserializer.
struct Shape<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Shape<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        Err(Error::custom("has no value"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("is no struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Stands for a value that is not there. Only an `Option` takes it.
struct Absent;

impl IntoDeserializer<'_, Error> for Absent {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Absent {
    type Error = Error;

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_none()
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("is required"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    //! What is found, and how it is said.

    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::domain::{Mobile, Title};

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read from JSON")]
    struct Form {
        mobile: Mobile,
        title: Title,
        name: Option<String>,
        agreed: bool,
    }

    #[derive(Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    struct Optional {
        agreed: bool,
    }

    fn faults<T: DeserializeOwned>(body: &str) -> Value {
        let fields = invalid::<T>(body.as_bytes()).unwrap();
        let fields = fields.iter().map(|fault| (&fault.field, &fault.message));
        fields.map(|(field, message)| json!([field, message])).collect()
    }

    #[test]
    fn every_wrong_field_is_named_at_once_in_words_for_people() {
        let body = json!({ "surplus": 1, "name": 7, "title": " ", "mobile": "555" });
        let expected = json!([
            ["mobile", "must be a mobile number in international form, such as +15550109999"],
            [
                "title",
                "must have 1 to 100 characters, one of them visible, and no control characters but tabs and line feeds"
            ],
            ["name", "must be text"],
            ["agreed", "is required"],
            ["surplus", "is unknown; the fields are: mobile, title, name, agreed"],
        ]);
        assert_eq!(faults::<Form>(&body.to_string()), expected);
        let all = json!([["mobile", "is required"], ["title", "is required"], ["agreed", "is required"],]);
        assert_eq!(faults::<Form>("{}"), all);
    }

    #[test]
    fn a_field_that_is_there_twice_is_named() {
        let faults = faults::<Form>(r#"{"mobile":"+15550109999","title":"a","title":"b","agreed":0}"#);
        let expected = json!([["title", "is there twice"], ["agreed", "must be true or false"]]);
        assert_eq!(faults, expected);
    }

    #[test]
    fn a_field_with_a_default_is_not_required() {
        let faults = faults::<Optional>(r#"{"surplus":1}"#);
        assert_eq!(faults, json!([["surplus", "is unknown; the fields are: agreed"]]));
    }
}
