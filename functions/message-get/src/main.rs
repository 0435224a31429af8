//! `GET /chatroom/{id}/message/{message_id}`: a message and its reply, if need be after a wait.
//!
//! With `wait` the response comes as soon as the message is settled, or when the wait is over. Meanwhile the statement
//! is sent again and again: listening for a notification would hold a server connection for every waiting client.
//!
//! A request that waits occupies one of the account's concurrent executions, so a user has three slots to wait in.
//! Whoever finds none free gets the message as it is. A slot is a key in the state store that expires by itself, and
//! is only looked for when the message is not settled. When the state store is down, everybody may wait.

use std::time::Duration;

use lambda_http::{Body, Request, Response};
use shared::{
    Error, Result,
    auth::TokenVerifier,
    config::ConfigError,
    database::Database,
    domain::{ChatroomId, Message, MessageId, UserId},
    http,
    state::StateStore,
    telemetry::Chain,
};
use tokio::time::{Instant, sleep};
use tracing::warn;
use uuid::Uuid;

/// The pause between two looks, which grows: a reply may come soon, and later a look costs more than it gains.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// How many requests of one user may wait at once.
const SLOTS: usize = 3;

/// How much longer than its wait a request may keep its slot: the time of a last look.
const LAST_LOOK: Duration = Duration::from_secs(5);

struct App {
    tokens: TokenVerifier,
    database: Database,
    state: StateStore,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self { tokens: TokenVerifier::from_env()?, database: Database::from_env()?, state: StateStore::from_env()? })
    }
}

const GET: &str = "
    -- $1 user, $2 room, $3 message
    select messages.*
    from chatrooms room join messages on messages.user_id = room.user_id and messages.chatroom_id = room.id
    where room.user_id = $1 and room.id = $2 and messages.id = $3";

async fn get(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let room: ChatroomId = http::path(&request, "id", "chatroom")?;
    let id: MessageId = http::path(&request, "message_id", "message")?;
    let wait = Duration::from_secs(http::query(&request, "wait", 0..=20, 0)?);

    let until = Instant::now() + wait;
    let mut message = app.message(id, room, caller.user).await?;
    if !message.status.is_settled()
        && !wait.is_zero()
        && let Some(slot) = app.take_slot(caller.user, wait).await
    {
        let settled = app.settled(message, caller.user, until).await;
        app.leave(slot).await;
        message = settled?;
    }
    http::ok(&message)
}

/// A slot that a request waits in.
enum Slot {
    /// A key of the state store, whose value is this request's own.
    Taken { key: String, owner: String },
    /// The state store is down, so this wait is not limited.
    Unlimited,
}

impl App {
    async fn message(&self, id: MessageId, room: ChatroomId, owner: UserId) -> Result<Message> {
        let row = self.database.query_opt(GET, &[&owner, &room, &id]).await?;
        let row = row.ok_or(Error::NotFound("message"))?;
        Ok(Message::from(&row))
    }

    /// Looks at a message until it is settled or the time is over.
    async fn settled(&self, mut message: Message, owner: UserId, until: Instant) -> Result<Message> {
        let mut pause = FIRST_PAUSE;
        while !message.status.is_settled() && Instant::now() + pause <= until {
            sleep(pause).await;
            message = self.message(message.id, message.chatroom_id, owner).await?;
            pause = (pause * 5 / 4).min(LONGEST_PAUSE);
        }
        Ok(message)
    }

    /// Takes one of the user's slots, or finds all of them taken.
    async fn take_slot(&self, user: UserId, wait: Duration) -> Option<Slot> {
        let owner = Uuid::now_v7().to_string();
        for n in 1..=SLOTS {
            let key = format!("waits:{user}:{n}");
            match self.state.put_if_absent(&key, &owner, wait + LAST_LOOK).await {
                Ok(true) => return Some(Slot::Taken { key, owner }),
                Ok(false) => {}
                Err(error) => {
                    warn!(error = %Chain(&error), "the state store is down: waiting requests are not limited");
                    return Some(Slot::Unlimited);
                }
            }
        }
        None
    }

    /// Gives a slot back. One that is not given back is free when its time is over.
    async fn leave(&self, slot: Slot) {
        if let Slot::Taken { key, owner } = slot
            && let Err(error) = self.state.remove_if(&key, &owner).await
        {
            warn!(error = %Chain(&error), "a waiting slot was not given back");
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::serve_with_query(&["wait"], App::from_env, get).await
}

#[cfg(test)]
mod tests {
    //! Tests which message is found.

    use serde_json::json;
    use shared::testing::{self, request};

    use super::*;

    #[tokio::test]
    async fn a_message_is_gone_with_its_room_while_its_row_is_left() {
        let app = App { database: testing::database().await, ..App::from_env().unwrap() };
        let caller = testing::user(&app.database).await;
        let room = testing::chatroom(&app.database, caller).await;
        let message = testing::message(&app.database, caller, room, "hello").await;
        let path = [("id", room.to_string()), ("message_id", message.to_string())];
        get(&app, request(caller, &path, &json!({}))).await.unwrap();
        app.database.query("delete from chatrooms where id = $1", &[&room]).await.unwrap();
        let gone = get(&app, request(caller, &path, &json!({}))).await;
        assert!(matches!(gone, Err(Error::NotFound("message"))), "{gone:?}");
    }
}
