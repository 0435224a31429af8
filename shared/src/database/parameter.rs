//! Pairs each Rust type with the Postgres type it is sent as.
//!
//! `query_typed` needs the types beside the values, because no statement is prepared that could tell them. Here they
//! follow from the Rust types, so that a call cannot name the wrong one.

use time::OffsetDateTime;
use tokio_postgres::types::{ToSql, Type};

use crate::domain::{ChatroomId, Content, Email, MessageId, Mobile, Name, SessionId, StreamId, Title, UserId};

/// A value that can be a statement's parameter.
pub trait Parameter: ToSql + Sync {
    /// Returns the Postgres type that the value is sent as.
    fn sql_type(&self) -> Type;
}

impl<T: Typed + ToSql + Sync> Parameter for T {
    fn sql_type(&self) -> Type {
        T::TYPE
    }
}

/// A Rust type with exactly one Postgres type.
pub trait Typed {
    /// The Postgres type.
    const TYPE: Type;
}

impl<T: Typed> Typed for Option<T> {
    const TYPE: Type = T::TYPE;
}

impl<T: Typed + ?Sized> Typed for &T {
    const TYPE: Type = T::TYPE;
}

macro_rules! typed {
    ($($rust:ty => $sql:ident),+ $(,)?) => {
        $(impl Typed for $rust {
            const TYPE: Type = Type::$sql;
        })+
    };
}

typed! {
    bool => BOOL,
    i32 => INT4,
    i64 => INT8,
    f64 => FLOAT8,
    str => TEXT,
    String => TEXT,
    [u8] => BYTEA,
    Vec<u8> => BYTEA,
    OffsetDateTime => TIMESTAMPTZ,
    UserId => UUID,
    Vec<UserId> => UUID_ARRAY,
    Vec<ChatroomId> => UUID_ARRAY,
    SessionId => UUID,
    ChatroomId => UUID,
    MessageId => UUID,
    StreamId => UUID,
    Mobile => TEXT,
    Title => TEXT,
    Content => TEXT,
    Name => TEXT,
    Email => TEXT,
}
