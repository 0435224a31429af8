//! `GET /chatroom/{id}`: a chatroom with its messages, oldest first.

use lambda_http::{Body, Request, Response};
use serde::Serialize;
use shared::{
    Error, Result,
    auth::TokenVerifier,
    config::ConfigError,
    database::Database,
    domain::{Chatroom, ChatroomId, Message, UserId},
    http::{self, cursor},
};

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

#[derive(Serialize)]
struct Page {
    #[serde(flatten)]
    room: Chatroom,
    messages: Vec<Message>,
    next_cursor: Option<String>,
}

/// The room once for each message, or once without any; one message more than the page holds, to know whether there
/// is another page.
const GET: &str = "
    -- $1 user, $2 room, $3 position before the page, $4 length of the page
    select room.title, room.created_at as room_created_at, room.active_at, message.*
    from chatrooms room
    left join lateral (
        select id, chatroom_id, position, content, status, created_at,
               reply, model, finish_reason, settled_at, failure
        from messages
        where user_id = $1 and chatroom_id = $2 and position > $3
        order by position
        limit $4 + 1
    ) message on true
    where room.user_id = $1 and room.id = $2
    order by message.position";

async fn get(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let room: ChatroomId = http::path(&request, "id", "chatroom")?;
    let limit = http::query(&request, "limit", 1..=100, 50)?;
    let after = cursor::read(&request, &list_name(room))?.unwrap_or(0);
    http::ok(&app.page(room, caller.user, limit, after).await?)
}

fn list_name(room: ChatroomId) -> String {
    format!("messages of {room}")
}

impl App {
    async fn page(&self, id: ChatroomId, owner: UserId, limit: i64, after: i64) -> Result<Page> {
        let rows = self
            .database
            .query(GET, &[&owner, &id, &after, &limit])
            .await?;
        let first = rows.first().ok_or(Error::NotFound("chatroom"))?;
        let room = Chatroom {
            id,
            title: first.get("title"),
            created_at: first.get("room_created_at"),
            active_at: first.get("active_at"),
        };
        let positions = rows
            .iter()
            .filter_map(|row| row.get::<_, Option<i64>>("position"));
        let mut messages: Vec<_> = positions.zip(&rows).collect();
        let next_cursor = cursor::cut(&mut messages, limit, &list_name(id), |(position, _)| {
            *position
        })?;
        Ok(Page {
            room,
            messages: messages
                .into_iter()
                .map(|(_, row)| Message::from(row))
                .collect(),
            next_cursor,
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, get).await
}
