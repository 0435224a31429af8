//! `POST /chatroom`: opens a chatroom.

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
struct NewChatroom {
    title: Title,
}

/// Inserts nothing for a user who is gone, or just going: the lock waits for that. The update changes nothing; it makes
/// `returning` show the row of a first try whose response was lost.
const CREATE: &str = "
    -- $1 user, $2 room, $3 title
    insert into chatrooms (user_id, id, title)
    select users.id, $2, $3 from users where users.id = $1 for key share
    on conflict (user_id, id) do update set title = excluded.title
    returning id, title, created_at, active_at";

async fn create(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let room: NewChatroom = http::json(&request)?;

    let row = app
        .database
        .query_opt(CREATE, &[&caller.user, &ChatroomId::new(), &room.title])
        .await?;
    let row = row.ok_or(Error::AccountGone)?;
    app.cache.forget(caller.user).await;
    let room = Chatroom::from(&row);
    http::created(&format!("/chatroom/{}", room.id), &room)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, create).await
}
