//! Fits a turn that is longer than the whole history may be.

use crate::gemini::Turn;

/// Stands for what was cut.
const CUT: &str = "[…] ";

/// Bytes of UTF-8 that count as a token.
const BYTES_PER_TOKEN: usize = 3;

/// Cuts the oldest part of a turn that has more than `tokens`: the beginning of its prompt, and then of its reply.
pub(super) fn fit(turn: Turn, tokens: i64) -> Turn {
    let room = usize::try_from(tokens).unwrap_or_default().saturating_mul(BYTES_PER_TOKEN);
    if turn.prompt.len() + turn.reply.len() <= room.saturating_add(BYTES_PER_TOKEN) {
        return turn;
    }
    Turn { prompt: end(&turn.prompt, room.saturating_sub(turn.reply.len())), reply: end(&turn.reply, room) }
}

/// Keeps the last bytes of a text, to a whole character, and marks what was cut.
fn end(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let start = text.ceil_char_boundary(text.len() - bytes);
    format!("{CUT}{}", &text[start..])
}

#[cfg(test)]
mod tests {
    //! Tests what is left of a turn.

    use super::*;

    fn fitted(prompt: &str, reply: &str, tokens: i64) -> (String, String) {
        let turn = fit(Turn { prompt: prompt.into(), reply: reply.into() }, tokens);
        (turn.prompt, turn.reply)
    }

    #[test]
    fn a_turn_loses_its_oldest_part_and_says_so() {
        let same = |prompt: &str, reply: &str| (prompt.to_owned(), reply.to_owned());
        assert_eq!(fitted("prompt", "reply", 4), same("prompt", "reply"));
        assert_eq!(fitted("a long prompt", "reply", 3), same("[…] ompt", "reply"));
        assert_eq!(fitted("prompt", "a long reply", 2), same("[…] ", "[…]  reply"));
        assert_eq!(fitted("語語語語", "ok", 2), same("[…] 語", "ok"));
    }

    #[test]
    fn no_budget_is_too_small_and_none_too_large() {
        assert_eq!(fitted("prompt", "reply", 0).0, "[…] ");
        assert_eq!(fitted("prompt", "reply", -1).1, "[…] ");
        assert_eq!(fitted("prompt", "reply", i64::MAX).0, "prompt");
    }
}
