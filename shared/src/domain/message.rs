//! Shows a message, its reply, and why there is none.

use serde::Serialize;
use time::OffsetDateTime;

use super::{ChatroomId, MessageId};

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
    #[serde(with = "super::timestamp::microseconds")]
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
    /// Settled, without a reply.
    Failed,
}

impl Message {
    /// Shows a message as it is accepted: it waits for its turn.
    #[must_use]
    pub fn accepted(id: MessageId, chatroom_id: ChatroomId, content: String, created_at: OffsetDateTime) -> Self {
        Self { id, chatroom_id, content, status: Status::Queued, created_at, draft: None, reply: None, failure: None }
    }
}

impl Status {
    /// Returns the word for it in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Answering => "answering",
            Self::Answered => "answered",
            Self::Failed => "failed",
        }
    }

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
    /// Why the reply ends there: `STOP`; `MAX_TOKENS` for one that was cut at its longest, `TIME_LIMIT` for one that
    /// was cut because it took too long, `STOPPED` for one that the user stopped; or another word of Gemini's.
    pub finish_reason: String,
    /// When it was stored.
    #[serde(with = "super::timestamp::microseconds")]
    pub created_at: OffsetDateTime,
}

/// Says why a message got no reply.
#[derive(Debug, Serialize)]
pub struct Failure {
    /// Gemini's word for a refusal (`SAFETY`, `RECITATION`, …), or one of `EMPTY_REPLY`, `STOPPED`, `REJECTED`,
    /// `MODEL_UNAVAILABLE`, `MODEL_QUOTA`, `DAILY_TOKENS` and `GIVEN_UP`.
    pub reason: String,
    /// The same for people.
    pub message: String,
}

impl Failure {
    /// Returns whether a message that fails for this reason is given back, since it is no fault of the user's. Others
    /// were asked about, and refused or stopped.
    #[must_use]
    pub fn is_free(reason: &str) -> bool {
        matches!(
            reason,
            "EMPTY_REPLY"
                | "OTHER"
                | "MAX_TOKENS"
                | "REJECTED"
                | "MODEL_UNAVAILABLE"
                | "MODEL_QUOTA"
                | "DAILY_TOKENS"
                | "GIVEN_UP"
        ) || reason.starts_with("MALFORMED_")
            || reason.starts_with("UNEXPECTED_")
    }
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        let message = match reason.as_str() {
            "EMPTY_REPLY" | "OTHER" => "The model gave no usable reply.",
            reason if reason.starts_with("MALFORMED_") || reason.starts_with("UNEXPECTED_") => {
                "The model gave no usable reply."
            }
            "MAX_TOKENS" => "The model reached its longest reply before the first word of it.",
            "STOPPED" => "The reply was stopped before its first word.",
            "REJECTED" => "The model could not process this message.",
            "MODEL_UNAVAILABLE" => "The model was not available.",
            "MODEL_QUOTA" => "The model's use for today is used up. Try again tomorrow.",
            "DAILY_TOKENS" => "Today's tokens were used up before this message came to its turn.",
            "GIVEN_UP" => "Replying to this message failed too often.",
            _ => "The model declined to answer this message.",
        };
        Self { message: message.into(), reason }
    }
}

#[cfg(test)]
mod tests {
    //! Tests that a failure counts as the contract says.

    use super::*;

    #[test]
    fn a_reason_counts_exactly_if_the_contract_says_so() {
        let contract = include_str!("../../../openapi.yaml");
        let (_, table) = contract.split_once("| Reason | Meaning | Counts |").unwrap();
        let rows = table.lines().skip(2).map(str::trim).take_while(|line| line.starts_with('|'));
        let mut reasons = 0;
        for row in rows {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            for reason in cells[1].split('`').skip(1).step_by(2) {
                let reason = reason.replace('…', "SOMETHING");
                assert_eq!(Failure::is_free(&reason), cells[3] == "no", "{reason}");
                reasons += 1;
            }
        }
        assert!(reasons >= 16, "{reasons} reasons");
        assert!(!Failure::is_free("A_NEW_REFUSAL"));
    }
}
