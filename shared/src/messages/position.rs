//! Says how much of a reply a reader has: the id of each event of a stream.

use std::{fmt, num::ParseIntError, str::FromStr};

use crate::domain::MessageId;

/// Says how much of which text a client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Whose reply it is.
    pub message: MessageId,
    /// The claim whose worker wrote it. Another worker asks again, and gets another text.
    pub epoch: i64,
    /// How many Unicode characters of it there are so far.
    pub characters: usize,
}

impl Position {
    /// The position of a client that has nothing yet.
    #[must_use]
    pub fn beginning(message: MessageId) -> Self {
        Self { message, epoch: 0, characters: 0 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.message, self.epoch, self.characters)
    }
}

/// Says what a position looks like.
#[derive(Debug)]
pub struct NotAPosition;

impl From<ParseIntError> for NotAPosition {
    fn from(_: ParseIntError) -> Self {
        Self
    }
}

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let mut parts = text.splitn(3, '.');
        let mut next = || parts.next().ok_or(NotAPosition);
        Ok(Self {
            message: next()?.parse().map_err(|_| NotAPosition)?,
            epoch: next()?.parse()?,
            characters: next()?.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    //! Tests that a position comes back as it was sent.

    use super::*;

    #[test]
    fn a_position_reads_back_and_anything_else_is_none() {
        let position = Position { epoch: 7, characters: 12, ..Position::beginning(MessageId::new()) };
        let text = position.to_string();
        assert_eq!(text.parse::<Position>().unwrap(), position);
        for wrong in ["", "7", "..", &text[1..], &text[..text.len() - 3], &format!("{text}.1")] {
            assert!(wrong.parse::<Position>().is_err(), "{wrong}");
        }
        assert!(text.replace(".12", ".-1").parse::<Position>().is_err());
    }
}
