//! `PATCH /chatroom/{id}`: renames a chatroom.

use lambda_http::{Body, Request, Response};
use serde::Deserialize;
use shared::{
    Error, Result,
    auth::TokenVerifier,
    chatroom_cache::ChatroomCache,
    config::ConfigError,
    database::Database,
    domain::{Chatroom, ChatroomId, Title},
    http,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Changes {
    title: Title,
}

const UPDATE: &str = "
    -- $1 user, $2 room, $3 title
    update chatrooms set title = $3
    where user_id = $1 and id = $2
    returning id, title, created_at, active_at";

async fn update(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let room: ChatroomId = http::path(&request, "id", "chatroom")?;
    let changes: Changes = http::json(&request)?;

    let row = app.database.query_opt(UPDATE, &[&caller.user, &room, &changes.title]).await?;
    let row = row.ok_or(Error::NotFound("chatroom"))?;
    app.cache.forget(caller.user).await;
    http::ok(&Chatroom::from(&row))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, update).await
}
