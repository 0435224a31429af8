//! Parses text that users type: a value that exists is acceptable, and Postgres can store it.

use std::fmt;

use postgres_types::{FromSql, ToSql};
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
    "must have 1 to 100 characters, one of them visible, and no control characters but tabs and line feeds",
    is_label
);
text!(
    /// Holds what a user writes to the model.
    Content,
    "must have 1 to 16000 characters, one of them visible",
    |text| is_visible(text) && text.chars().count() <= 16_000
);
text!(
    /// Holds the name of a user.
    Name,
    "must have 1 to 100 characters, one of them visible, and no control characters but tabs and line feeds",
    is_label
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

fn is_label(text: &str) -> bool {
    let is_unwanted = |c: char| c.is_control() && !matches!(c, '\t' | '\n');
    is_visible(text) && text.chars().count() <= 100 && !text.contains(is_unwanted)
}

/// Returns whether a reader sees anything of a text.
#[must_use]
pub fn is_visible(text: &str) -> bool {
    !text.chars().all(is_blank)
}

/// Returns whether a character shows nothing by itself: white space, control characters, and what [`INVISIBLE`] lists.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control() || INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// Lists the assigned characters of Unicode 17 that have the category Format (`Cf`) or the property
/// `Default_Ignorable_Code_Point`, and the empty Braille pattern.
///
/// Source: `DerivedGeneralCategory.txt` and `DerivedCoreProperties.txt` of <https://www.unicode.org/Public/17.0.0/ucd/>.
const INVISIBLE: [(char, char); 28] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0001}', '\u{e0001}'),
    ('\u{e0020}', '\u{e007f}'),
    ('\u{e0100}', '\u{e01ef}'),
];

/// Holds a mobile number in E.164: a plus sign and 7 to 15 digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSql, FromSql)]
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

    /// Refuses a text as each type of text that people read.
    fn is_refused(text: &str) -> [bool; 3] {
        let text = || text.to_owned();
        [Title::try_from(text()).is_err(), Name::try_from(text()).is_err(), Content::try_from(text()).is_err()]
    }

    #[test]
    fn text_that_shows_nothing_is_refused() {
        for blanks in ["", " ", "\t\n", "\r\n", "\u{a0}\u{3000}", "\u{200b}", "\u{1b}\u{7f}\u{85}", "\u{2028}\u{2029}"]
        {
            assert_eq!(is_refused(blanks), [true; 3], "{blanks:?}");
        }
        for text in [" a ", "\u{200f}א", "👩\u{200d}🔬", ".", "é", "\u{301}"] {
            assert_eq!(is_refused(text), [false; 3], "{text:?}");
        }
    }

    #[test]
    fn every_character_of_a_kind_that_shows_nothing_counts_as_blank() {
        use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator, SpaceSeparator};
        use unicode_general_category::{GeneralCategory, get_general_category};
        for c in '\0'..=char::MAX {
            let shows_nothing = matches!(
                get_general_category(c),
                Control | Format | LineSeparator | ParagraphSeparator | SpaceSeparator
            );
            assert!(!shows_nothing || is_blank(c), "{c:?}");
        }
    }

    #[test]
    fn a_control_character_is_refused_in_titles_and_names_unless_it_is_a_tab_or_a_line_feed() {
        for c in ('\0'..='\u{9f}').filter(|c| c.is_control()) {
            let is_allowed = matches!(c, '\t' | '\n');
            assert_eq!(is_refused(&format!("a{c}b")), [!is_allowed, !is_allowed, c == '\0'], "{c:?}");
        }
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
