//! `GET /chatroom`: the caller's chatrooms, latest activity first.
//!
//! The first page, which everybody loads first, comes from the cache. It holds the most rooms that a page may have, and
//! one more to know whether there is another page, so it serves pages of any size.

use lambda_http::{Body, Request, Response};
use serde::{Deserialize, Serialize};
use shared::{
    Result,
    auth::TokenVerifier,
    chatroom_cache::ChatroomCache,
    config::ConfigError,
    database::{Database, Type},
    domain::{Chatroom, ChatroomId, UserId},
    http::{self, cursor},
};
use time::OffsetDateTime;

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

/// One room more than the page holds, to know whether there is another.
const LIST: &str = "
    select id, title, created_at, active_at
    from chatrooms
    where user_id = $1
      and ($2::timestamptz is null or (active_at, id) < ($2, $3))
    order by active_at desc, id desc
    limit $4 + 1";

const LARGEST_PAGE: i64 = 100;

async fn list(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let limit = http::query(&request, "limit", 1..=LARGEST_PAGE, 50)?;
    let after = cursor::read(&request, &list_name(caller.user))?;
    let mut items = match after {
        None => {
            app.cache
                .list(caller.user, app.rooms(caller.user, LARGEST_PAGE, None))
                .await?
        }
        after => app.rooms(caller.user, limit, after).await?,
    };
    let next_cursor = cursor::cut(&mut items, limit, &list_name(caller.user), |room| {
        Position {
            active_at: room.active_at,
            id: room.id,
        }
    })?;
    http::ok_unless_known(&request, &Page { items, next_cursor })
}

fn list_name(user: UserId) -> String {
    format!("chatrooms of {user}")
}

impl App {
    async fn rooms(
        &self,
        user: UserId,
        limit: i64,
        after: Option<Position>,
    ) -> Result<Vec<Chatroom>> {
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
        Ok(rows.iter().map(Chatroom::from).collect())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, list).await
}
