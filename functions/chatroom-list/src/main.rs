//! `GET /chatroom`: the caller's chatrooms, latest activity first.

use lambda_http::{Body, Request, Response};
use serde::{Deserialize, Serialize};
use shared::{
    Result,
    auth::TokenVerifier,
    config::ConfigError,
    database::{Database, Type},
    domain::{Chatroom, ChatroomId, UserId},
    http::{self, cursor},
};
use time::OffsetDateTime;

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
    items: Vec<Chatroom>,
    next_cursor: Option<String>,
}

/// The room after which a page starts.
#[derive(Serialize, Deserialize)]
struct Position {
    #[serde(with = "time::serde::rfc3339")]
    active_at: OffsetDateTime,
    id: ChatroomId,
}

/// One row more than the page holds, to know whether there is another.
const LIST: &str = "
    select id, title, created_at, active_at
    from chatrooms
    where user_id = $1
      and ($2::timestamptz is null or (active_at, id) < ($2, $3))
    order by active_at desc, id desc
    limit $4 + 1";

async fn list(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let limit = http::query(&request, "limit", 1..=100, 50)?;
    let after = cursor::read(&request, &list_name(caller.user))?;
    http::ok(&app.page(caller.user, limit, after).await?)
}

fn list_name(user: UserId) -> String {
    format!("chatrooms of {user}")
}

impl App {
    async fn page(&self, user: UserId, limit: i64, after: Option<Position>) -> Result<Page> {
        let (active_at, id) = after.map(|after| (after.active_at, after.id)).unzip();
        let rows = self
            .database
            .query(
                LIST,
                &[
                    (&user, Type::UUID),
                    (&active_at, Type::TIMESTAMPTZ),
                    (&id, Type::UUID),
                    (&limit, Type::INT8),
                ],
            )
            .await?;
        let mut items: Vec<Chatroom> = rows.iter().map(Chatroom::from).collect();
        let next_cursor = cursor::cut(&mut items, limit, &list_name(user), |room| Position {
            active_at: room.active_at,
            id: room.id,
        })?;
        Ok(Page { items, next_cursor })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, list).await
}
