//! Defines the product's nouns: ids, what users type, plans, and the JSON shapes of the API. No I/O.

mod message;
mod text;
pub mod timestamp;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

pub use message::{Failure, Message, Reply, Status};
pub use text::{Content, Email, Mobile, Name, NotAMobile, Title, is_visible};

/// Makes an id type: a UUIDv7, so that newer rows sort behind older ones and index pages fill in order.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[derive(postgres_types::ToSql, postgres_types::FromSql)]
        #[serde(transparent)]
        #[postgres(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Makes an id that was never used before.
            #[must_use]
            #[expect(clippy::new_without_default, reason = "an id that differs each time is no default")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

id!(
    /// Names a user.
    UserId
);
id!(
    /// Names a signed-in session of a user.
    SessionId
);
id!(
    /// Names a chatroom.
    ChatroomId
);
id!(
    /// Names a message.
    MessageId
);
id!(
    /// Names an open stream of a user.
    StreamId
);

impl UserId {
    /// Reads an id from its 16 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Writes the id as 16 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

/// Says what a user pays for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Plan {
    /// Free, with few messages a day.
    Basic,
    /// Paid through Stripe.
    Pro,
}

/// Limits what the users of each plan may do in a UTC day.
#[derive(Debug, Clone, Copy)]
pub struct DailyLimits {
    /// Messages that count.
    pub messages: Each<i32>,
    /// Tokens of prompts and replies, as the model counts them.
    pub tokens: Each<i64>,
    /// How many posts are accepted for each message of the limit. It bounds the posts that are stopped, or refunded.
    pub posts_per_message: i32,
}

/// Holds something for each plan.
#[derive(Debug, Clone, Copy)]
pub struct Each<T> {
    /// For Basic.
    pub basic: T,
    /// For Pro.
    pub pro: T,
}

impl<T: Copy> Each<T> {
    /// Returns what a plan has.
    #[must_use]
    pub fn of(&self, plan: Plan) -> T {
        match plan {
            Plan::Basic => self.basic,
            Plan::Pro => self.pro,
        }
    }
}

/// Shows a user.
#[derive(Debug, Serialize)]
pub struct User {
    /// The user's id.
    pub id: UserId,
    /// The verified number.
    pub mobile: String,
    /// The name, as given by the user.
    pub name: Option<String>,
    /// The e-mail address, as given by the user; nobody verified it.
    pub email: Option<String>,
    /// What the user pays for at the moment.
    pub plan: Plan,
    /// When the user signed up.
    #[serde(with = "timestamp::microseconds")]
    pub created_at: OffsetDateTime,
}

/// Shows a session of a user.
#[derive(Debug, Serialize)]
pub struct Session {
    /// The session's id.
    pub id: SessionId,
    /// When the user signed in.
    #[serde(with = "timestamp::microseconds")]
    pub created_at: OffsetDateTime,
    /// When it was last refreshed, to the hour.
    #[serde(with = "timestamp::microseconds")]
    pub last_used_at: OffsetDateTime,
    /// The browser or app, and the system, that signed in.
    pub device: Option<String>,
    /// Whether it is the session that asks.
    pub current: bool,
}

/// Shows a chatroom.
#[derive(Debug, Serialize, Deserialize)]
pub struct Chatroom {
    /// The room's id.
    pub id: ChatroomId,
    /// Its title.
    pub title: String,
    /// When it was made.
    #[serde(with = "timestamp::microseconds")]
    pub created_at: OffsetDateTime,
    /// When the user last wrote in it.
    #[serde(with = "timestamp::microseconds")]
    pub active_at: OffsetDateTime,
}
