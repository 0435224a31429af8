//! `POST /chatroom/{id}/message`: accepts a message and wakes the room's worker.
//!
//! The 202 is a promise: message, quota and idempotency key are stored by one statement before it is given. The
//! wake-up may fail; the sweep finds the room.

use std::time::Duration;

use lambda_http::{Body, Request, Response};
use shared::{
    Result,
    auth::TokenVerifier,
    chatroom_cache::ChatroomCache,
    config::ConfigError,
    database::Database,
    domain::ChatroomId,
    http,
    messages::{Accepted, Post, Posting},
    queue::Queue,
};

/// How soon it is worth looking for the reply.
const RETRY_AFTER: Duration = Duration::from_secs(1);

struct App {
    tokens: TokenVerifier,
    posting: Posting,
    queue: Queue,
    cache: ChatroomCache,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            tokens: TokenVerifier::from_env()?,
            posting: Posting::from_env(Database::from_env()?)?,
            queue: Queue::from_env()?,
            cache: ChatroomCache::from_env()?,
        })
    }
}

async fn send(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let room: ChatroomId = http::path(&request, "id", "chatroom")?;
    let key = http::idempotency_key(&request)?;
    let post: Post = http::json(&request)?;

    let Accepted { message, is_new } = app.posting.accept(caller.user, room, key, &post).await?;
    if is_new {
        // Both may fail; neither is part of the promise.
        tokio::join!(app.queue.wake(room, caller.user), app.cache.forget(caller.user));
    }
    let location = format!("message/{}", message.id);
    http::accepted(Some((&location, RETRY_AFTER)), &message)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, send).await
}
