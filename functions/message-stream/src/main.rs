//! `/chatroom/{id}/stream`: passes a reply on while it is written.
//!
//! `POST` accepts a message as `message-send` does, and answers it in place: the connection that waits for the reply is
//! its worker. `GET` attaches to the message that the room is busy with, replays its reply and follows; if nobody works
//! on it, this connection does. Of a room that is busy with nothing it gets a stream without events.
//!
//! Whoever works does so in a task of its own, so a client that goes away stops nothing. A worker that dies leaves a
//! lease, as every other one: the client that comes again, another one, or the queue goes on.
//!
//! The function has a URL of its own, because an HTTP API cannot stream. A URL knows no routes, so the path is parsed
//! here.

mod connection;
mod events;
mod slots;

use std::{sync::Arc, time::Duration};

use lambda_http::{Request, RequestExt, Response, http::Method};
use shared::{
    Error, Result,
    answering::Answering,
    auth::TokenVerifier,
    chatroom_cache::ChatroomCache,
    config::{self, ConfigError},
    database::Database,
    domain::{ChatroomId, Message, UserId},
    http::{self, ChunkWriter, Chunks},
    messages::{self, Accepted, Attached, Position, Post, Posting},
};
use tokio::time::{Instant, interval_at};

use connection::{Connection, Step};
use events::EventWriter;
use slots::Slot;

/// How often something is sent, so that no proxy closes the connection.
const HEARTBEAT: Duration = Duration::from_secs(10);

struct App {
    tokens: TokenVerifier,
    posting: Posting,
    answering: Answering,
    cache: ChatroomCache,
    /// How many streams a user may have open at once.
    slots: i32,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        let database = Database::from_env()?;
        Ok(Self {
            tokens: TokenVerifier::from_env()?,
            posting: Posting::from_env(database.clone())?,
            answering: Answering::from_env(database)?,
            cache: ChatroomCache::from_env()?,
            slots: config::or_default("STREAMS_PER_USER", 3)?,
        })
    }
}

async fn stream(app: &'static App, request: Request) -> Result<Response<Chunks>> {
    let caller = app.tokens.authenticate(&request)?;
    let room = http::raw_path(&request, ("chatroom/", "/stream"), "chatroom")?;
    match *request.method() {
        Method::POST => post(app, &request, caller.user, room).await,
        Method::GET => attach(app, &request, caller.user, room).await,
        _ => Err(Error::NotFound("endpoint")),
    }
}

async fn post(app: &'static App, request: &Request, user: UserId, room: ChatroomId) -> Result<Response<Chunks>> {
    let key = http::idempotency_key(request)?;
    let post: Post = http::json(request)?;
    let slot = Slot::take(app.answering.database(), user, app.slots, None, true).await?;
    match app.posting.accept(user, room, key, &post).await {
        Ok(Accepted { message, .. }) => {
            let beginning = Position::beginning(message.id);
            open(app, request, user, slot, (message, beginning), Step::Claim)
        }
        Err(error) => {
            slot.give_back(app.answering.database()).await;
            Err(error)
        }
    }
}

async fn attach(app: &'static App, request: &Request, user: UserId, room: ChatroomId) -> Result<Response<Chunks>> {
    let position = last_event_id(request)?;
    let database = app.answering.database();
    let known = position.map(|position| position.message);
    let message = match messages::attach(database, user, room, known).await? {
        Attached::NoSuchRoom => return Err(Error::NotFound("chatroom")),
        Attached::Idle => return http::no_events(request.lambda_context().request_id),
        Attached::Message(message) => *message,
    };
    let position = position.filter(|position| position.message == message.id);
    let position = position.unwrap_or(Position::beginning(message.id));
    let slot = Slot::take(database, user, app.slots, Some(message.id), false).await?;
    open(app, request, user, slot, (message, position), Step::Look)
}

fn last_event_id(request: &Request) -> Result<Option<Position>> {
    let Some(value) = request.headers().get("last-event-id") else {
        return Ok(None);
    };
    let position = value.to_str().ok().and_then(|text| text.parse().ok());
    position.map(Some).ok_or_else(|| Error::Malformed("The Last-Event-ID header is not the id of an event.".into()))
}

/// Opens the stream of a message, which begins with a claim for one that was just posted.
fn open(
    app: &'static App,
    request: &Request,
    caller: UserId,
    slot: Slot,
    (message, position): (Message, Position),
    first: Step,
) -> Result<Response<Chunks>> {
    let request_id = request.lambda_context().request_id;
    http::event_stream(request_id, move |chunks| async move {
        let events = EventWriter::new(chunks.clone(), position);
        let slot = Arc::new(slot);
        let mut connection = Connection::new(&app.answering, caller, message, events, Arc::clone(&slot));
        let run = hold(app, &slot, &chunks, connection.run(first));
        let outcome = match first {
            Step::Claim => tokio::join!(run, app.cache.forget(caller)).0,
            Step::Look | Step::Pause => run.await,
        };
        slot.give_back(app.answering.database()).await;
        outcome
    })
}

/// Keeps a connection's line open and its slot held while it runs.
async fn hold(app: &App, slot: &Slot, chunks: &ChunkWriter, run: impl Future<Output = Result<()>>) -> Result<()> {
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    let hold = async {
        loop {
            heartbeat.tick().await;
            chunks.write(http::COMMENT);
            slot.prolong(app.answering.database()).await;
        }
    };
    tokio::select! {
        outcome = run => outcome,
        () = hold => Ok(()), // never
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve_streaming(App::from_env, stream).await
}
