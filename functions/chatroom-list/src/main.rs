//! `GET /chatroom`: the caller's chatrooms, latest activity first.
//!
//! The first page, which everybody loads first, may come from a cache. It holds the most rooms that a page may have,
//! and one more to know whether there is another page, so it serves pages of any size.

use lambda_http::{Body, Request, Response};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use shared::{
    Result,
    auth::TokenVerifier,
    chatroom_cache::ChatroomCache,
    config::ConfigError,
    database::Database,
    domain::{Chatroom, ChatroomId, UserId},
    http::{self, cursor},
};
use time::{OffsetDateTime, UtcOffset, serde::rfc3339};

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
struct CursorPosition {
    #[serde(serialize_with = "rfc3339::serialize", deserialize_with = "utc")]
    active_at: OffsetDateTime,
    id: ChatroomId,
}

/// Reads a time that is one in UTC too. Anybody can forge a cursor, and the first day of the year 0 in the east is
/// none.
fn utc<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OffsetDateTime, D::Error> {
    let time = rfc3339::deserialize(deserializer)?;
    time.checked_to_offset(UtcOffset::UTC).ok_or_else(|| D::Error::custom("no time in UTC"))
}

/// Reads one room more than the page holds, to know whether there is another page.
const LIST: &str = "
    -- $1 user, $2 activity and $3 id of the room before the page, $4 length of the page
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
        None if app.cache.is_on() => app.cache.list(caller.user, app.rooms(caller.user, LARGEST_PAGE, None)).await?,
        after => app.rooms(caller.user, limit, after).await?,
    };
    let next_cursor = cursor::cut(&mut items, limit, &list_name(caller.user), |room| CursorPosition {
        active_at: room.active_at,
        id: room.id,
    })?;
    http::ok_unless_known(&request, &Page { items, next_cursor })
}

fn list_name(user: UserId) -> String {
    format!("chatrooms of {user}")
}

impl App {
    async fn rooms(&self, user: UserId, limit: i64, after: Option<CursorPosition>) -> Result<Vec<Chatroom>> {
        let (active_at, id) = after.map(|after| (after.active_at, after.id)).unzip();
        let rows = self.database.query(LIST, &[&user, &active_at, &id, &limit]).await?;
        Ok(rows.iter().map(Chatroom::from).collect())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::serve_with_query(&["limit", "cursor"], App::from_env, list).await
}

#[cfg(test)]
mod tests {
    //! Pages, and the cache that must never hide a room.

    use lambda_http::http::{StatusCode, header};
    use serde_json::{Value, json};
    use shared::{
        Error,
        auth::Caller,
        state::StateStore,
        testing::{self, parts, request},
    };

    use super::*;

    async fn app() -> App {
        App {
            tokens: TokenVerifier::from_env().unwrap(),
            database: testing::database().await,
            cache: ChatroomCache::from_env().unwrap(),
        }
    }

    async fn with_cache() -> App {
        App { cache: ChatroomCache::over(StateStore::from_env().unwrap()), ..app().await }
    }

    fn get(caller: Caller, query: &[(&str, &str)]) -> Request {
        use lambda_http::RequestExt;
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]));
        request(caller, &[], &json!({}))
            .with_query_string_parameters(query.collect::<std::collections::HashMap<_, _>>())
    }

    async fn page(app: &App, caller: Caller, query: &[(&str, &str)]) -> Value {
        parts(&list(app, get(caller, query)).await.unwrap()).1
    }

    fn ids(page: &Value) -> Vec<String> {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|room| room["id"].as_str().unwrap().to_owned()).collect()
    }

    #[tokio::test]
    async fn pages_of_any_size_show_every_room_once_latest_first() {
        for app in [app().await, with_cache().await] {
            show_every_room(&app).await;
        }
    }

    /// The checksum of a cursor is no secret, so a client may send any position of any list.
    #[tokio::test]
    async fn a_forged_cursor_gives_a_page_or_is_malformed() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        testing::chatroom(&app.database, caller).await;
        let ids = ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "", "\0"];
        let times = [
            "0000-01-01T00:00:00Z",
            "0000-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59.999999999-23:59",
            "9999-12-31T23:59:60Z",
            "1970-01-01T00:00:00.000000000000000000001Z",
            "+99999-01-01T00:00:00Z",
            "-0001-01-01T00:00:00Z",
            "infinity",
            "",
        ];
        for (active_at, id) in times.iter().flat_map(|time| ids.map(|id| (time, id))) {
            let cursor = cursor::write(&json!({ "active_at": active_at, "id": id }), &list_name(caller.user)).unwrap();
            match list(&app, get(caller, &[("cursor", &cursor)])).await {
                Ok(_) => assert!(id.len() > 1 && active_at.len() > 8, "{active_at} {id}"),
                Err(error) => assert!(matches!(error, Error::Malformed(_)), "{active_at} {id}: {error:?}"),
            }
        }
    }

    async fn show_every_room(app: &App) {
        let caller = testing::user(&app.database).await;
        let mut rooms = Vec::new();
        for _ in 0..7 {
            rooms.insert(0, testing::chatroom(&app.database, caller).await.to_string());
        }
        for limit in ["1", "3", "7", "100"] {
            let mut seen = Vec::new();
            let mut current = page(app, caller, &[("limit", limit)]).await;
            seen.extend(ids(&current));
            while let Some(cursor) = current["next_cursor"].as_str().map(str::to_owned) {
                current = page(app, caller, &[("limit", limit), ("cursor", &cursor)]).await;
                seen.extend(ids(&current));
            }
            assert_eq!(seen, rooms, "pages of {limit}");
        }
    }

    #[tokio::test]
    async fn the_cache_is_used_until_it_is_told_of_a_change() {
        let app = with_cache().await;
        let caller = testing::user(&app.database).await;
        assert_eq!(ids(&page(&app, caller, &[]).await).len(), 0);
        testing::chatroom(&app.database, caller).await;
        assert_eq!(ids(&page(&app, caller, &[]).await).len(), 0, "nobody told the cache");
        app.cache.forget(caller.user).await;
        assert_eq!(ids(&page(&app, caller, &[]).await).len(), 1);
    }

    #[tokio::test]
    async fn a_slow_reader_cannot_put_an_old_list_back() {
        let app = with_cache().await;
        let caller = testing::user(&app.database).await;
        let slow = app.cache.list(caller.user, async {
            let old = app.rooms(caller.user, LARGEST_PAGE, None).await;
            // While its rows are on the way, a room is created.
            testing::chatroom(&app.database, caller).await;
            app.cache.forget(caller.user).await;
            old
        });
        assert_eq!(slow.await.unwrap().len(), 0);
        assert_eq!(ids(&page(&app, caller, &[]).await).len(), 1);
    }

    #[tokio::test]
    async fn without_a_cache_a_list_is_read_anew() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        for rooms in 0..3 {
            assert_eq!(ids(&page(&app, caller, &[]).await).len(), rooms);
            testing::chatroom(&app.database, caller).await;
        }
    }

    #[tokio::test]
    async fn a_list_that_the_caller_has_is_not_sent_again() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        let first = list(&app, get(caller, &[])).await.unwrap();
        let etag = first.headers()[header::ETAG].clone();
        let again = || {
            let mut request = get(caller, &[]);
            request.headers_mut().insert(header::IF_NONE_MATCH, etag.clone());
            list(&app, request)
        };
        assert_eq!(again().await.unwrap().status(), StatusCode::NOT_MODIFIED);
        testing::chatroom(&app.database, caller).await;
        app.cache.forget(caller.user).await;
        assert_eq!(again().await.unwrap().status(), StatusCode::OK);
    }
}
