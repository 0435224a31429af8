//! `POST /chatroom`: opens a chatroom.
//!
//! A user has a limited number of rooms, and opens a limited number in an hour. Postgres counts both, in the statement
//! that stores the room, so that neither limit depends on the state store.

use std::time::Duration;

use lambda_http::{Body, Request, Response};
use serde::Deserialize;
use shared::{
    Error, Result,
    auth::TokenVerifier,
    chatroom_cache::ChatroomCache,
    config::{self, ConfigError},
    database::Database,
    domain::{Chatroom, ChatroomId, Title, UserId},
    error::OverLimit,
    http,
};

const HOUR: Duration = Duration::from_hours(1);

struct App {
    tokens: TokenVerifier,
    database: Database,
    cache: ChatroomCache,
    limits: Limits,
}

#[derive(Clone, Copy)]
struct Limits {
    /// `CHATROOMS_PER_USER`, by default 1 000.
    rooms: u32,
    /// `NEW_CHATROOMS_PER_USER_HOUR`, by default 100.
    new_in_an_hour: u32,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            tokens: TokenVerifier::from_env()?,
            database: Database::from_env()?,
            cache: ChatroomCache::from_env()?,
            limits: Limits {
                rooms: config::or_default("CHATROOMS_PER_USER", 1_000)?,
                new_in_an_hour: config::or_default("NEW_CHATROOMS_PER_USER_HOUR", 100)?,
            },
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewChatroom {
    title: Title,
}

async fn create(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let room: NewChatroom = http::json(&request)?;

    let room = app.open(caller.user, ChatroomId::new(), &room.title).await?;
    app.cache.forget(caller.user).await;
    http::created(&format!("chatroom/{}", room.id), &room)
}

/// Counts the room by updating the user's row, whose lock makes creations at once take turns: of them, exactly as many
/// succeed as the hour has left. The rooms themselves are counted as they were before the statement, so creations at
/// the very same moment may pass that limit together.
///
/// Returns no row when the user is gone, and one without a room when a limit forbids it. A second run finds the room of
/// the first, or meets it while that is still under way.
const OPEN: &str = "
    -- $1 user, $2 room, $3 title, $4 most rooms, $5 most new ones in an hour
    with known as (
        select id, title, created_at, active_at from chatrooms where user_id = $1 and id = $2
    ), held as (
        select count(*) as rooms from chatrooms where user_id = $1
    ), counted as (
        update users
        set new_rooms = case when new_rooms_since > now() - interval '1 hour' then new_rooms + 1 else 1 end,
            new_rooms_since = case when new_rooms_since > now() - interval '1 hour' then new_rooms_since else now() end
        where id = $1
          and (new_rooms < $5 or new_rooms_since <= now() - interval '1 hour')
          and (select rooms from held) < $4
          and not exists (select from known)
        returning id
    ), opened as (
        insert into chatrooms (user_id, id, title)
        select id, $2, $3 from counted
        on conflict (user_id, id) do update set title = excluded.title
        returning id, title, created_at, active_at
    )
    select room.*, held.rooms >= $4 as is_full,
           extract(epoch from users.new_rooms_since + interval '1 hour' - now())::float8 as seconds_left
    from users
    cross join held
    left join (select * from opened union all select * from known) room on true
    where users.id = $1";

impl App {
    async fn open(&self, user: UserId, id: ChatroomId, title: &Title) -> Result<Chatroom> {
        let Limits { rooms, new_in_an_hour } = self.limits;
        let (most, most_new) = (i64::from(rooms), i64::from(new_in_an_hour));
        let row = self.database.query_opt(OPEN, &[&user, &id, &title, &most, &most_new]).await?;
        let row = row.ok_or(Error::AccountGone)?;
        if row.get::<_, Option<ChatroomId>>("id").is_some() {
            return Ok(Chatroom::from(&row));
        }
        Err(Error::OverLimit(if row.get("is_full") {
            OverLimit {
                policy: "chatrooms",
                detail: "You have as many chatrooms as one user may have. Delete one first.",
                limit: rooms,
                window: HOUR,
                retry_after: HOUR,
            }
        } else {
            let left = Duration::try_from_secs_f64(row.get("seconds_left"));
            OverLimit {
                policy: "new-chatrooms",
                detail: "You opened many chatrooms within an hour. Wait before you open another.",
                limit: new_in_an_hour,
                window: HOUR,
                retry_after: left.unwrap_or_default(),
            }
        }))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, create).await
}

#[cfg(test)]
mod tests {
    //! How many rooms a user may open and have.

    use futures_util::future::join_all;
    use serde_json::json;
    use shared::{
        auth::Caller,
        testing::{self, request},
    };

    use super::*;

    const WIDE: Limits = Limits { rooms: 1_000, new_in_an_hour: 1_000 };

    async fn app(limits: Limits) -> App {
        on(testing::database().await, limits)
    }

    fn on(database: Database, limits: Limits) -> App {
        App { tokens: TokenVerifier::from_env().unwrap(), database, cache: ChatroomCache::from_env().unwrap(), limits }
    }

    async fn try_create(app: &App, caller: Caller) -> Option<OverLimit> {
        let title = json!({ "title": "Lisbon" });
        match create(app, request(caller, &[], &title)).await {
            Ok(_) => None,
            Err(Error::OverLimit(over)) => Some(over),
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn rooms(app: &App) -> i64 {
        let sql = "select count(*) from chatrooms";
        app.database.query_one(sql, &[]).await.unwrap().get(0)
    }

    #[tokio::test]
    async fn of_twenty_rooms_at_once_exactly_as_many_open_as_the_hour_has_left() {
        let limits = Limits { new_in_an_hour: 5, ..WIDE };
        let app = app(limits).await;
        let caller = testing::user(&app.database).await;
        let twins: Vec<App> = (0..20).map(|_| on(app.database.another_connection(), limits)).collect();
        let outcomes = join_all(twins.iter().map(|twin| try_create(twin, caller))).await;
        let refused: Vec<_> = outcomes.into_iter().flatten().collect();
        assert_eq!((refused.len(), rooms(&app).await), (15, 5));
        assert!(refused.iter().all(|over| over.policy == "new-chatrooms"));

        let over = try_create(&app, caller).await.unwrap();
        let wait = over.retry_after.as_secs();
        assert!((3_500..=3_600).contains(&wait), "{wait} s");
        let an_hour_later = "update users set new_rooms_since = now() - interval '1 hour'";
        app.database.query(an_hour_later, &[]).await.unwrap();
        assert!(try_create(&app, caller).await.is_none(), "the hour is over");
    }

    #[tokio::test]
    async fn a_user_has_at_most_so_many_rooms_until_one_is_deleted() {
        let app = app(Limits { rooms: 2, ..WIDE }).await;
        let caller = testing::user(&app.database).await;
        for _ in 0..2 {
            assert!(try_create(&app, caller).await.is_none());
        }
        let over = try_create(&app, caller).await.unwrap();
        assert_eq!((over.policy, over.limit), ("chatrooms", 2));
        let delete = "delete from chatrooms where id = (select id from chatrooms limit 1)";
        app.database.query(delete, &[]).await.unwrap();
        assert!(try_create(&app, caller).await.is_none());

        let other = testing::user(&app.database).await;
        assert!(try_create(&app, other).await.is_none(), "others' rooms do not count");
    }

    #[tokio::test]
    async fn a_statement_sent_twice_opens_one_room_and_counts_once() {
        let app = app(Limits { rooms: 1, ..WIDE }).await;
        let caller = testing::user(&app.database).await;
        let id = ChatroomId::new();
        let title = serde_json::from_value(json!("Lisbon")).unwrap();
        for _ in 0..2 {
            let room = app.open(caller.user, id, &title).await.unwrap();
            assert_eq!((room.id, room.title.as_str()), (id, "Lisbon"));
        }
        let counted = "select new_rooms::int8 from users";
        let counted: i64 = app.database.query_one(counted, &[]).await.unwrap().get(0);
        assert_eq!((rooms(&app).await, counted), (1, 1));
    }
}
