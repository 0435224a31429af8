//! Encodes cursors: the position where a list's next page starts, opaque to the caller.
//!
//! A cursor carries a checksum over its position and the list it belongs to, so that a mangled one, or one of another
//! list, is an error and not a strange page. It protects from mistakes only: anybody can compute it. So a position's
//! type must refuse, when it is read, whatever its statement cannot take; the statement reads only the caller's rows.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use lambda_http::Request;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::request::query_text;
use crate::{Error, Result};

const CHECKSUM_BYTES: usize = 8;

/// Reads the position after which the requested page starts, or `None` for the first page. `list` names the list and
/// its owner.
///
/// # Errors
/// [`Error::Malformed`] for a cursor that this list never gave.
pub fn read<Position: DeserializeOwned>(request: &Request, list: &str) -> Result<Option<Position>> {
    let Some(cursor) = query_text(request, "cursor") else {
        return Ok(None);
    };
    decode(cursor, list).map(Some).ok_or_else(|| Error::Malformed("The cursor is not one of this list.".into()))
}

fn decode<Position: DeserializeOwned>(cursor: &str, list: &str) -> Option<Position> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (found, position) = bytes.split_first_chunk::<CHECKSUM_BYTES>()?;
    if *found != checksum(list, position) {
        return None;
    }
    serde_json::from_slice(position).ok()
}

/// Encodes the cursor of the page that starts after `position`.
///
/// # Errors
/// When the position cannot be serialised, which is a defect.
pub fn write<Position: Serialize>(position: &Position, list: &str) -> Result<String> {
    let position = serde_json::to_vec(position).map_err(Error::internal)?;
    let bytes = [&checksum(list, &position), position.as_slice()].concat();
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// Truncates the rows to a page of `limit`, and returns the next page's cursor if there were more.
///
/// # Errors
/// When a position cannot be serialised, which is a defect.
pub fn cut<Item, Position: Serialize>(
    items: &mut Vec<Item>,
    limit: i64,
    list: &str,
    position: impl Fn(&Item) -> Position,
) -> Result<Option<String>> {
    let limit = usize::try_from(limit).map_err(Error::internal)?;
    if items.len() <= limit {
        return Ok(None);
    }
    items.truncate(limit);
    let last = items.last().map(|last| write(&position(last), list));
    last.transpose()
}

fn checksum(list: &str, position: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest = Sha256::new().chain_update(list).chain_update([0]).chain_update(position).finalize();
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&digest[..CHECKSUM_BYTES]);
    checksum
}

#[cfg(test)]
mod tests {
    //! A cursor is accepted by the list that wrote it, unchanged, and by nothing else.

    use super::*;

    #[test]
    fn a_cursor_reads_back_what_was_written() {
        let cursor = write(&(7, "a"), "rooms").unwrap();
        assert_eq!(decode(&cursor, "rooms"), Some((7, "a".to_owned())));
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        let cursor = write(&7, "rooms of a").unwrap();
        assert_eq!(decode::<i32>(&cursor, "rooms of b"), None);
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let cursor = write(&1234, "rooms").unwrap();
        for at in 0..cursor.len() {
            let mut forged = cursor.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(decode::<i32>(&forged, "rooms"), None, "{forged}");
        }
    }
}
