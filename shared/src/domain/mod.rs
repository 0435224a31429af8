//! Defines the product's nouns: ids, what users type, plans, and the JSON shapes of the API. No I/O.

mod text;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

pub use text::{Content, Email, Mobile, Name, NotAMobile, Title};

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

/// Limits the messages of each plan in a UTC day.
#[derive(Debug, Clone, Copy)]
pub struct DailyLimits {
    /// The limit of Basic.
    pub basic: i32,
    /// The limit of Pro.
    pub pro: i32,
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
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// Shows a chatroom.
#[derive(Debug, Serialize, Deserialize)]
pub struct Chatroom {
    /// The room's id.
    pub id: ChatroomId,
    /// Its title.
    pub title: String,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When the user last wrote in it.
    #[serde(with = "time::serde::rfc3339")]
    pub active_at: OffsetDateTime,
}

/// Shows a message and, in time, its reply.
#[derive(Debug, Serialize)]
pub struct Message {
    /// The message's id.
    pub id: MessageId,
    /// The room it was posted in.
    pub chatroom_id: ChatroomId,
    /// What the user wrote.
    pub content: String,
    /// How far the reply is.
    pub status: Status,
    /// When it was accepted.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// The reply as far as it is written, while `status` is `answering`. Another try may write another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft: Option<String>,
    /// The reply, once `status` is `answered`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<Reply>,
    /// Why there will be no reply, once `status` is `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// Says how far the reply to a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Waiting for its turn, or for another try.
    Queued,
    /// Being asked at this moment.
    Answering,
    /// Settled, with a reply.
    Answered,
    /// Settled, without a reply; it does not count against the day's limit.
    Failed,
}

impl Status {
    /// Returns whether nothing will change any more.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Answered | Self::Failed)
    }
}

/// Shows the model's reply.
#[derive(Debug, Serialize)]
pub struct Reply {
    /// Its text.
    pub content: String,
    /// The version of the model that gave it.
    pub model: Option<String>,
    /// Why the model stopped: `STOP`, or `MAX_TOKENS` for a reply that was cut at its longest.
    pub finish_reason: String,
    /// When it was stored.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// Says why a message got no reply.
#[derive(Debug, Serialize)]
pub struct Failure {
    /// Gemini's word for a refusal (`SAFETY`, `RECITATION`, …), or one of `EMPTY_REPLY`, `STOPPED`, `REJECTED`,
    /// `MODEL_UNAVAILABLE`, `MODEL_QUOTA` and `GIVEN_UP`.
    pub reason: String,
    /// The same for people.
    pub message: String,
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        let message = match reason.as_str() {
            "EMPTY_REPLY" | "OTHER" | "MALFORMED_RESPONSE" => "The model gave no usable reply.",
            "MAX_TOKENS" => "The model reached its longest reply before the first word of it.",
            "STOPPED" => "The reply was stopped before its first word.",
            "REJECTED" => "The model could not process this message.",
            "MODEL_UNAVAILABLE" => "The model was not available for too long.",
            "MODEL_QUOTA" => "The model's use for today is used up. Try again tomorrow.",
            "GIVEN_UP" => "Replying to this message failed too often.",
            _ => "The model declined to answer this message.",
        };
        Self { message: message.into(), reason }
    }
}
