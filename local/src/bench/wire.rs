//! The statements that a function sends, read from its connection: what Postgres is really asked, with its parameters.
//!
//! Messages: <https://www.postgresql.org/docs/18/protocol-message-formats.html>.

use std::fmt::Write as _;

use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::machine::proxy::{Chunk, What};

/// A statement and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// As it was sent, with `$1` and so on.
    pub sql: String,
    /// The parameters as SQL literals.
    pub parameters: Vec<String>,
}

/// The statements among what went to Postgres, in order.
pub fn statements(passed: &[Chunk]) -> Vec<Statement> {
    let requests = passed.iter().filter_map(|chunk| match &chunk.what {
        What::Sent(bytes) => Some(bytes.as_slice()),
        _ => None,
    });
    requests.filter_map(statement).collect()
}

/// The statement that one request carries: a `Parse` and its `Bind`.
pub fn statement(request: &[u8]) -> Option<Statement> {
    let mut rest = Reader(request);
    let (mut sql, mut types) = (None, Vec::new());
    while let Some(kind) = rest.take(1) {
        let length = usize::try_from(rest.number::<4>()?).ok()?;
        let mut body = Reader(rest.take(length.checked_sub(4)?)?);
        match (kind, &sql) {
            (b"P", _) => {
                body.text()?;
                sql = Some(body.text()?.to_owned());
                let count = body.number::<2>()?;
                types = (0..count)
                    .map(|_| body.number::<4>())
                    .collect::<Option<Vec<_>>>()?;
            }
            (b"B", Some(sql)) => {
                body.text()?;
                body.text()?;
                let formats = body.number::<2>()?;
                body.take(usize::try_from(formats).ok()? * 2)?;
                let count = body.number::<2>()?;
                let mut parameters = Vec::new();
                for index in 0..usize::try_from(count).ok()? {
                    let length = body.number::<4>()?;
                    // A length of -1 is null.
                    let value = match usize::try_from(length.cast_signed()) {
                        Ok(length) => Some(body.take(length)?),
                        Err(_) => None,
                    };
                    parameters.push(literal(*types.get(index)?, value)?);
                }
                return Some(Statement {
                    sql: sql.clone(),
                    parameters,
                });
            }
            _ => {}
        }
    }
    None
}

/// A parameter in binary format as SQL writes it. Only types that the benchmark meets.
fn literal(oid: u32, value: Option<&[u8]>) -> Option<String> {
    let name = Type::from_oid(oid)?.name().to_owned();
    let Some(value) = value else {
        return Some(format!("null::{name}"));
    };
    let text = match name.as_str() {
        "uuid" => Uuid::from_slice(value).ok()?.to_string(),
        "text" => std::str::from_utf8(value).ok()?.replace('\'', "''"),
        "bool" => (value != [0]).to_string(),
        "int4" => i32::from_be_bytes(value.try_into().ok()?).to_string(),
        "int8" => i64::from_be_bytes(value.try_into().ok()?).to_string(),
        "float8" => f64::from_be_bytes(value.try_into().ok()?).to_string(),
        "bytea" => value.iter().fold("\\x".to_owned(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}"); // writing to a string does not fail
            hex
        }),
        _ => return None,
    };
    Some(format!("'{text}'::{name}"))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number<const N: usize>(&mut self) -> Option<u32> {
        let bytes = self.take(N)?.iter();
        Some(bytes.fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.0.iter().position(|byte| *byte == 0)?;
        let text = self.take(length)?;
        self.take(1)?;
        std::str::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind], length.to_be_bytes().as_slice(), body].concat()
    }

    #[test]
    fn a_statement_is_read_with_its_parameters() {
        let types = [Type::INT4.oid(), Type::TEXT.oid()].map(u32::to_be_bytes);
        let parse = [b"\0select $1, $2\0\0\x02", types.concat().as_slice()].concat();
        let bind = b"\0\0\0\x01\0\x01\0\x02\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff\0\0";
        let request = [message(b'P', &parse), message(b'B', bind)].concat();
        let expected = Statement {
            sql: "select $1, $2".into(),
            parameters: vec!["'7'::int4".into(), "null::text".into()],
        };
        assert_eq!(statement(&request), Some(expected));
        assert_eq!(statement(&request[..20]), None, "it is cut off");
    }
}
