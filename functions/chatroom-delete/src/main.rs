//! `DELETE /chatroom/{id}`: removes a chatroom with its messages. A reply that is being written is discarded, as its
//! worker finds no row to settle.

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

/// Deletes the room, with its messages, for a session that lasts: this cannot be undone.
const DELETE: &str = "
    -- $1 user, $2 room, $3 session
    with session as (
        select sessions.id
        from sessions join users on users.id = sessions.user_id and users.generation = sessions.generation
        where sessions.user_id = $1 and sessions.id = $3
    ), deleted as (
        delete from chatrooms using session where user_id = $1 and chatrooms.id = $2 returning chatrooms.id
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
    //! Tests who deletes a room.

    use serde_json::json;
    use shared::testing::{self, request};

    use super::*;

    #[tokio::test]
    async fn an_ended_session_deletes_no_room() {
        for end in ["delete from sessions", "update users set generation = generation + 1"] {
            let app = App {
                tokens: TokenVerifier::from_env().unwrap(),
                database: testing::database().await,
                cache: ChatroomCache::from_env().unwrap(),
            };
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
