//! Follows a message without changing it, for readers of its stream.

use super::{Position, Result};
use crate::{
    database::Database,
    domain::{ChatroomId, Message, MessageId, Status, UserId},
};

/// Finds the message that a client knows, or the one that the room is busy with. There is a row for every room of the
/// user, without a message when there is none to follow.
const ATTACH: &str = "
    -- $1 user, $2 room, $3 message that the client knows
    select message.*
    from chatrooms room
    left join oldest_unsettled oldest on oldest.user_id = $1 and oldest.chatroom_id = $2
    left join messages known on known.user_id = $1 and known.id = $3 and known.chatroom_id = $2
    left join messages message on message.user_id = $1 and message.id = coalesce(known.id, oldest.id)
    where room.user_id = $1 and room.id = $2";

/// Reads how far a message is: the text after a position, or all of it if the position belongs to another epoch, and
/// whether a claim of the room would find something to do.
const LOOK: &str = "
    -- $1 user, $2 room, $3 message, $4 epoch of the position, $5 the first character after it
    select message.status, coalesce(message.draft_epoch, 0) as epoch, message.finish_reason, message.failure,
           substr(coalesce(message.reply, message.draft, ''),
                  case when message.draft_epoch = $4 then $5 else 1 end) as text,
           message.unsettled
           and coalesce(room.answering_until <= now(), true)
           and coalesce(oldest.not_before <= now(), false) as is_free
    from chatrooms room
    join messages message on message.user_id = $1 and message.id = $3
    left join oldest_unsettled oldest on oldest.user_id = $1 and oldest.chatroom_id = $2
    where room.user_id = $1 and room.id = $2";

/// What there is to follow in a room.
pub enum Attached {
    /// The user has no such room.
    NoSuchRoom,
    /// Everything is settled.
    Idle,
    /// A message that the client knows or the room is busy with.
    Message(Box<Message>),
}

/// How far a message is.
pub struct Look {
    /// Its status.
    pub status: Status,
    /// The claim whose worker wrote the text; 0 before the first one.
    pub epoch: i64,
    /// What there is of the reply after the position, or all of it if the position belongs to another epoch.
    pub text: String,
    /// Why the model stopped, if the message is answered.
    pub finish_reason: Option<String>,
    /// Why there is no reply, if the message failed.
    pub failure: Option<String>,
    /// Nobody holds the room, and its oldest unsettled message is due.
    pub is_free: bool,
}

/// Finds the message that a client follows: the one it knows, or the one that the room is busy with.
///
/// # Errors
/// When Postgres fails.
pub async fn attach(database: &Database, user: UserId, room: ChatroomId, known: Option<MessageId>) -> Result<Attached> {
    let Some(row) = database.query_opt(ATTACH, &[&user, &room, &known]).await? else {
        return Ok(Attached::NoSuchRoom);
    };
    Ok(match row.get::<_, Option<MessageId>>("id") {
        Some(_) => Attached::Message(Box::new(Message::from(&row))),
        None => Attached::Idle,
    })
}

/// Reads how far a message is, from a position on. Returns nothing when the room is gone.
///
/// # Errors
/// When Postgres fails.
pub async fn look(database: &Database, user: UserId, room: ChatroomId, position: Position) -> Result<Option<Look>> {
    // A client may send any number.
    let next = i32::try_from(position.characters).unwrap_or(i32::MAX).saturating_add(1);
    let row = database.query_opt(LOOK, &[&user, &room, &position.message, &position.epoch, &next]).await?;
    Ok(row.map(|row| Look {
        status: row.get("status"),
        epoch: row.get("epoch"),
        text: row.get("text"),
        finish_reason: row.get("finish_reason"),
        failure: row.get("failure"),
        is_free: row.get("is_free"),
    }))
}

#[cfg(test)]
mod tests {
    //! Tests how the statements are executed, since every reader sends them three times a second.

    use super::*;
    use crate::{database::Parameter, testing};

    #[tokio::test]
    async fn among_ten_thousand_users_a_reader_finds_its_message_by_indexes() {
        let database = testing::database().await;
        testing::crowd(&database).await;
        let (user, room, message) = (UserId::new(), ChatroomId::new(), MessageId::new());
        let statements: [(&str, &[&dyn Parameter]); 2] =
            [(ATTACH, &[&user, &room, &message]), (LOOK, &[&user, &room, &message, &1_i64, &1])];
        for (sql, parameters) in statements {
            let plan = testing::plan(&database, sql, parameters).await;
            assert!(!plan.contains("Seq Scan") && plan.contains("unsettled_messages"), "{plan}");
        }
    }
}
