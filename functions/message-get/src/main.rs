//! `GET /chatroom/{id}/message/{message_id}`: a message and its reply, if need be after a wait.
//!
//! With `wait` the answer comes as soon as the message is settled, or when the wait is over. Meanwhile the statement is
//! sent again and again: listening for a notification would hold a server connection for every waiting client.

use std::time::Duration;

use lambda_http::{Body, Request, Response};
use shared::{
    Error, Result,
    auth::TokenVerifier,
    config::ConfigError,
    database::Database,
    domain::{ChatroomId, Message, MessageId, UserId},
    http,
};
use tokio::time::{Instant, sleep};

/// How long to wait between two looks: at first a reply may come at once, later every look costs more than it gains.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

struct App {
    tokens: TokenVerifier,
    database: Database,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            tokens: TokenVerifier::from_env()?,
            database: Database::from_env()?,
        })
    }
}

const GET: &str = "
    -- $1 user, $2 room, $3 message
    select id, chatroom_id, content, status, created_at, reply, model, finish_reason, settled_at, failure,
           case when status = 'answering' then draft end as draft
    from messages
    where user_id = $1 and id = $3 and chatroom_id = $2";

async fn get(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let room: ChatroomId = http::path(&request, "id", "chatroom")?;
    let id: MessageId = http::path(&request, "message_id", "message")?;
    let wait = Duration::from_secs(http::query(&request, "wait", 0..=20, 0)?);

    let until = Instant::now() + wait;
    let mut pause = FIRST_PAUSE;
    loop {
        let message = app.message(id, room, caller.user).await?;
        if message.status.is_settled() || Instant::now() + pause > until {
            return http::ok(&message);
        }
        sleep(pause).await;
        pause = (pause * 5 / 4).min(LONGEST_PAUSE);
    }
}

impl App {
    async fn message(&self, id: MessageId, room: ChatroomId, owner: UserId) -> Result<Message> {
        let row = self.database.query_opt(GET, &[&owner, &room, &id]).await?;
        let row = row.ok_or(Error::NotFound("message"))?;
        Ok(Message {
            draft: row.get("draft"),
            ..Message::from(&row)
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, get).await
}
