//! Reads rows as the domain's types, by column name.

use tokio_postgres::{
    Row,
    types::{FromSql, Type},
};

use crate::domain::{Chatroom, Plan, Status, User};

impl From<&Row> for Chatroom {
    fn from(row: &Row) -> Self {
        Self {
            id: row.get("id"),
            title: row.get("title"),
            created_at: row.get("created_at"),
            active_at: row.get("active_at"),
        }
    }
}

impl From<&Row> for User {
    fn from(row: &Row) -> Self {
        Self {
            id: row.get("id"),
            mobile: row.get("mobile"),
            name: row.get("name"),
            email: row.get("email"),
            plan: row.get("plan"),
            created_at: row.get("created_at"),
        }
    }
}

/// Reads an enum of ours from a text column.
macro_rules! from_text {
    ($name:ident { $($text:literal => $variant:ident),+ }) => {
        impl<'a> FromSql<'a> for $name {
            fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, crate::error::Source> {
                match <&str>::from_sql(ty, raw)? {
                    $($text => Ok(Self::$variant),)+
                    other => Err(format!("{other:?} is no {}", stringify!($name)).into()),
                }
            }

            fn accepts(ty: &Type) -> bool {
                <&str>::accepts(ty)
            }
        }
    };
}

from_text!(Plan { "basic" => Basic, "pro" => Pro });
from_text!(Status {
    "queued" => Queued, "answering" => Answering, "answered" => Answered, "failed" => Failed
});
