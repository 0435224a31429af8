//! Parses text that users type: a value that exists is acceptable, and Postgres can store it.

use std::fmt;

use postgres_types::ToSql;
use serde::{Deserialize, Serialize};

/// Makes a type for text that holds a rule, with the words for text that breaks it.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $problem:literal, $rule:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSql)]
        #[serde(try_from = "String")]
        #[postgres(transparent)]
        pub struct $name(String);

        impl $name {
            /// Returns the text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        /// Hides the text, which belongs in no log.
        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }

        impl TryFrom<String> for $name {
            type Error = &'static str;

            fn try_from(text: String) -> Result<Self, &'static str> {
                let rule: fn(&str) -> bool = $rule;
                if text.contains('\0') {
                    return Err("must not contain the NUL character");
                }
                if rule(&text) { Ok(Self(text)) } else { Err($problem) }
            }
        }
    };
}

text!(
    /// Titles a chatroom.
    Title,
    "must have 1 to 100 characters, of which one at least is not blank",
    |text| is_written(text) && text.chars().count() <= 100
);
text!(
    /// Holds what a user writes to the model.
    Content,
    "must have 1 to 16000 characters",
    |text| (1..=16_000).contains(&text.chars().count())
);
text!(
    /// Holds the name of a user.
    Name,
    "must have 1 to 100 characters, of which one at least is not blank",
    |text| is_written(text) && text.chars().count() <= 100
);
text!(
    /// Holds the e-mail address of a user. Nobody has verified it, so any two texts around an at sign will do.
    Email,
    "must be an e-mail address of at most 254 characters, such as ada@example.com",
    |text| {
        let is_printable = |c: char| !c.is_whitespace() && !c.is_control();
        let parts = text.rsplit_once('@');
        parts.is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
            && text.chars().all(is_printable)
            && text.chars().count() <= 254
    }
);

fn is_written(text: &str) -> bool {
    !text.trim().is_empty()
}

/// Holds a mobile number in E.164: a plus sign and 7 to 15 digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSql)]
#[serde(try_from = "String")]
#[postgres(transparent)]
pub struct Mobile(String);

/// Says what a mobile number looks like.
#[derive(Debug, thiserror::Error)]
#[error("must be a mobile number in international form, such as +15550109999")]
pub struct NotAMobile;

impl Mobile {
    /// Returns the number in E.164.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Mobile {
    type Error = NotAMobile;

    /// Accepts the usual ways to write a number: spaces, dashes and brackets are left out.
    fn try_from(text: String) -> Result<Self, NotAMobile> {
        let number: String = text.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')' | '[' | ']')).collect();
        let digits = number.strip_prefix('+').ok_or(NotAMobile)?.as_bytes();
        let well_formed =
            (7..=15).contains(&digits.len()) && digits[0] != b'0' && digits.iter().all(u8::is_ascii_digit);
        well_formed.then_some(Self(number)).ok_or(NotAMobile)
    }
}

#[cfg(test)]
mod tests {
    //! Tests what each type takes, and what it refuses.

    use super::*;

    fn parse(text: &str) -> Option<String> {
        Mobile::try_from(text.to_owned()).ok().map(|mobile| mobile.0)
    }

    #[test]
    fn usual_ways_of_writing_a_number_are_normalised() {
        for text in ["+1 (555) 010-9999", "+15550109999", "+1-555-010-9999"] {
            assert_eq!(parse(text).as_deref(), Some("+15550109999"), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_number_is_refused() {
        for text in [
            "",
            "+",
            "15550109999",
            "+05550109999",
            "+123456",
            "+1234567890123456",
            "+1555O109999",
            "++15550109999",
            "+1555\u{0661}109999",
            "+1555\u{0}109999",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn blanks_alone_are_no_title_and_no_name() {
        for blanks in ["", " ", "\t\n", "\u{a0}\u{3000}"] {
            assert!(Title::try_from(blanks.to_owned()).is_err(), "{blanks:?}");
            assert!(Name::try_from(blanks.to_owned()).is_err(), "{blanks:?}");
        }
        assert!(Title::try_from(" a ".to_owned()).is_ok());
    }

    #[test]
    fn length_is_counted_in_characters() {
        assert!(Title::try_from("👩".repeat(100)).is_ok());
        assert!(Title::try_from("ж".repeat(101)).is_err());
        assert!(Content::try_from("𝕏".repeat(16_000)).is_ok());
        assert!(Content::try_from("a".repeat(16_001)).is_err());
    }

    #[test]
    fn an_address_has_text_on_both_sides_of_its_at_sign() {
        for address in ["a@b", "a@b@c", "ж@пример.рф"] {
            assert!(Email::try_from(address.to_owned()).is_ok(), "{address}");
        }
        for text in ["", "@", "a@", "@b", "ada.example.com", "a b@c", "a@b\n", "a\0@b"] {
            assert!(Email::try_from(text.to_owned()).is_err(), "{text:?}");
        }
    }
}
