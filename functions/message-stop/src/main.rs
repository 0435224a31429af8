//! `POST /chatroom/{id}/message/{message_id}/stop`: ends the reply to a message where it is.
//!
//! A message that waits for its turn, or for another try, fails at once and does not count against the day. One that is
//! being answered is marked: its worker sees that at its next checkpoint, within about a second, and settles it with
//! what there is. If the worker has died, the next one settles it instead of asking again; so the room is woken for the
//! end of the lease. A message at its end stays as it is.

use lambda_http::{Body, Request, Response};
use shared::{
    Error, Result,
    auth::TokenVerifier,
    config::ConfigError,
    database::Database,
    domain::{ChatroomId, MessageId},
    http,
    messages::{self, Stopped},
    queue::Queue,
};

struct App {
    tokens: TokenVerifier,
    database: Database,
    queue: Queue,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self { tokens: TokenVerifier::from_env()?, database: Database::from_env()?, queue: Queue::from_env()? })
    }
}

async fn stop(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let room: ChatroomId = http::path(&request, "id", "chatroom")?;
    let id: MessageId = http::path(&request, "message_id", "message")?;

    let stopped = messages::stop(&app.database, caller.user, room, id).await?;
    let Stopped { message, wake_after } = stopped.ok_or(Error::NotFound("message"))?;
    if let Some(delay) = wake_after {
        app.queue.wake_after(delay, room, caller.user).await;
    }
    http::ok(&message)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, stop).await
}

#[cfg(test)]
mod tests {
    //! Tests whose messages a request stops. What a stop does to a message is tested beside its statement.

    use shared::testing::{self, request};

    use super::*;

    #[tokio::test]
    async fn a_message_of_another_user_or_room_is_not_found_and_goes_on() {
        let app = App {
            tokens: TokenVerifier::from_env().unwrap(),
            database: testing::database().await,
            queue: Queue::from_env().unwrap(),
        };
        let owner = testing::user(&app.database).await;
        let room = testing::chatroom(&app.database, owner).await;
        let message = testing::message(&app.database, owner, room, "hello").await;
        let stranger = testing::user(&app.database).await;
        let their_room = testing::chatroom(&app.database, stranger).await;
        let other_room = testing::chatroom(&app.database, owner).await;
        for (caller, room) in [(stranger, room), (stranger, their_room), (owner, other_room)] {
            let path = [("id", room.to_string()), ("message_id", message.to_string())];
            let response = stop(&app, request(caller, &path, &().into())).await;
            assert!(matches!(response, Err(Error::NotFound("message"))));
            let goes_on = "select count(*) from messages where status = 'queued' and stop_requested_at is null";
            let going_on: i64 = app.database.query_one(goes_on, &[]).await.unwrap().get(0);
            assert_eq!(going_on, 1);
        }
    }
}
