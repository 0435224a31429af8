//! `DELETE /chatroom/{id}`: removes a chatroom with its messages. A reply that is being made is discarded: its worker
//! finds no row to settle.

use lambda_http::{Body, Request, Response};
use shared::{
    Error, Result, auth::TokenVerifier, chatroom_cache::ChatroomCache, config::ConfigError,
    database::Database, domain::ChatroomId, http,
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

const DELETE: &str = "
    -- $1 user, $2 room
    delete from chatrooms where user_id = $1 and id = $2 returning id";

async fn delete(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let room: ChatroomId = http::path(&request, "id", "chatroom")?;

    let row = app
        .database
        .query_opt(DELETE, &[&caller.user, &room])
        .await?;
    row.ok_or(Error::NotFound("chatroom"))?;
    app.cache.forget(caller.user).await;
    http::no_content()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, delete).await
}
