//! `DELETE /chatroom/{id}`: removes a chatroom. Its messages are gone with it, and the sweep removes their rows. The
//! worker of a reply that is being written finds no room to settle it in.

use lambda_http::{Body, Request, Response};
use shared::{
    Error, Result, auth::TokenVerifier, chatroom_cache::ChatroomCache, config::ConfigError, database::Database,
    domain::ChatroomId, http,
};

struct App {
    tokens: TokenVerifier,
    database: Database,
    cache: ChatroomCache,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            tokens: TokenVerifier::from_env()?,
            database: Database::from_env()?,
            cache: ChatroomCache::from_env()?,
        })
    }
}

/// Deletes the room for a session that lasts, since this cannot be undone, and asks the sweep for its messages.
const DELETE: &str = "
    -- $1 user, $2 room, $3 session
    with session as (
        select sessions.id
        from sessions join users on users.id = sessions.user_id and users.generation = sessions.generation
        where sessions.user_id = $1 and sessions.id = $3
    ), deleted as (
        delete from chatrooms using session where user_id = $1 and chatrooms.id = $2 returning user_id, chatrooms.id
    ), removal as (
        insert into removals (user_id, chatroom_id) select user_id, id from deleted
    )
    select exists (select from session) as lasts, exists (select from deleted) as deleted";

async fn delete(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let room: ChatroomId = http::path(&request, "id", "chatroom")?;

    let row = app.database.query_one(DELETE, &[&caller.user, &room, &caller.session]).await?;
    if !row.get::<_, bool>("lasts") {
        return Err(Error::SessionEnded);
    }
    if !row.get::<_, bool>("deleted") {
        return Err(Error::NotFound("chatroom"));
    }
    app.cache.forget(caller.user).await;
    http::no_content()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, delete).await
}

#[cfg(test)]
mod tests {
    //! Tests who deletes a room, and what is left of it.

    use serde_json::json;
    use shared::testing::{self, request};

    use super::*;

    async fn app() -> App {
        App {
            tokens: TokenVerifier::from_env().unwrap(),
            database: testing::database().await,
            cache: ChatroomCache::from_env().unwrap(),
        }
    }

    #[tokio::test]
    async fn a_room_does_not_wait_for_its_messages_which_are_left_to_the_sweep() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        let room = testing::chatroom(&app.database, caller).await;
        testing::message(&app.database, caller, room, "hello").await;
        delete(&app, request(caller, &[("id", room.to_string())], &json!({}))).await.unwrap();
        let left = "select (select count(*) from chatrooms) as rooms, (select count(*) from messages) as messages,
                           (select count(*) from removals where chatroom_id = $1) as removals";
        let left = app.database.query_one(left, &[&room]).await.unwrap();
        assert_eq!(["rooms", "messages", "removals"].map(|name| left.get::<_, i64>(name)), [0, 1, 1]);
    }

    #[tokio::test]
    async fn an_ended_session_deletes_no_room() {
        for end in ["delete from sessions", "update users set generation = generation + 1"] {
            let app = app().await;
            let caller = testing::user(&app.database).await;
            let room = testing::chatroom(&app.database, caller).await;
            app.database.query(end, &[]).await.unwrap();
            let refused = delete(&app, request(caller, &[("id", room.to_string())], &json!({}))).await;
            assert!(matches!(refused, Err(Error::SessionEnded)), "{end}: {refused:?}");
            let left: i64 = app.database.query_one("select count(*) from chatrooms", &[]).await.unwrap().get(0);
            assert_eq!(left, 1, "{end}");
        }
    }
}
