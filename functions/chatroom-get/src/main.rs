//! `GET /chatroom/{id}`: a chatroom with a page of its messages, oldest or newest first.
//!
//! A long conversation opens at its end with `order=desc`. Cursors lead both ways from every page. A page ends after
//! `limit` messages or before it is larger than a Lambda function may return.

use lambda_http::{Body, Request, Response};
use serde::{Deserialize, Serialize};
use shared::{
    Error, Result,
    auth::TokenVerifier,
    config::ConfigError,
    database::Database,
    domain::{Chatroom, ChatroomId, Message, UserId},
    http::{self, cursor},
};

/// The most that the messages of a page take in the response. Lambda allows 6 MB, and a message may have one.
const PAGE_BYTES: i64 = 4_000_000;

struct App {
    tokens: TokenVerifier,
    database: Database,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self { tokens: TokenVerifier::from_env()?, database: Database::from_env()? })
    }
}

#[derive(Serialize)]
struct Page {
    #[serde(flatten)]
    room: Chatroom,
    messages: Vec<Message>,
    next_cursor: Option<String>,
    previous_cursor: Option<String>,
}

/// The order in which a page shows its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    OldestFirst,
    NewestFirst,
}

/// The values of `order`; the first is the default.
const ORDERS: [(&str, Order); 2] = [("asc", Order::OldestFirst), ("desc", Order::NewestFirst)];

/// Says on which side of which message's position a page lies.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum CursorPosition {
    LaterThan(Anchor),
    EarlierThan(Anchor),
}

/// The position of a message, or one before the first or after the last. Anybody can forge a cursor, and Postgres
/// cannot subtract a negative one from another.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "i64")]
struct Anchor(i64);

impl TryFrom<i64> for Anchor {
    type Error = &'static str;

    fn try_from(position: i64) -> Result<Self, &'static str> {
        if position >= 0 { Ok(Self(position)) } else { Err("no message has a negative position") }
    }
}

/// Reads the messages on one side of an anchor, nearest first. The room comes with each, or once without any.
///
/// A page is cut by the bytes of its messages in the response, where their text is escaped twice: Lambda returns the
/// body as a JSON string. Before that it is cut by their bytes in the table, which Postgres knows without reading them.
/// The first message always fits.
const GET: &str = "
    -- $1 user, $2 room, $3 anchor: a position, $4 whether later ones, $5 most messages, $6 most bytes
    select message.*, room.title, room.created_at as room_created_at, room.active_at, room.last_position
    from chatrooms room
    left join lateral (
        select *, sum(octet_length(to_json(to_json(concat(content, reply))::text)::text)) over nearest as sent
        from (
            select *, row_number() over nearest as nth,
                   sum(octet_length(content) + coalesce(octet_length(reply), 0)) over nearest as stored
            from (
                (select * from messages
                 where user_id = $1 and chatroom_id = $2 and position > $3 and $4
                 order by position limit $5)
                union all
                (select * from messages
                 where user_id = $1 and chatroom_id = $2 and position < $3 and not $4
                 order by position desc limit $5)
            ) side
            window nearest as (order by abs(position - $3))
        ) near
        where stored <= $6 or nth = 1
        window nearest as (order by nth)
    ) message on message.sent <= $6 or message.nth = 1
    where room.user_id = $1 and room.id = $2
    order by message.nth";

async fn get(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let room: ChatroomId = http::path(&request, "id", "chatroom")?;
    let limit = http::query(&request, "limit", 1..=100, 50)?;
    let order = http::query_choice(&request, "order", &ORDERS)?;
    let at = cursor::read(&request, &list_name(room, order))?.unwrap_or(match order {
        Order::OldestFirst => CursorPosition::LaterThan(Anchor(0)),
        Order::NewestFirst => CursorPosition::EarlierThan(Anchor(i64::MAX)),
    });
    http::ok(&app.page(room, caller.user, limit, order, at).await?)
}

/// A cursor belongs to one order of one room.
fn list_name(room: ChatroomId, order: Order) -> String {
    format!("messages of {room}, {order:?}")
}

impl App {
    async fn page(&self, id: ChatroomId, owner: UserId, limit: i64, order: Order, at: CursorPosition) -> Result<Page> {
        let (anchor, scan_order) = match at {
            CursorPosition::LaterThan(Anchor(position)) => (position, Order::OldestFirst),
            CursorPosition::EarlierThan(Anchor(position)) => (position, Order::NewestFirst),
        };
        let later = scan_order == Order::OldestFirst;
        let mut rows = self.database.query(GET, &[&owner, &id, &anchor, &later, &limit, &PAGE_BYTES]).await?;
        if scan_order != order {
            rows.reverse();
        }
        let first = rows.first().ok_or(Error::NotFound("chatroom"))?;
        let room = Chatroom {
            id,
            title: first.get("title"),
            created_at: first.get("room_created_at"),
            active_at: first.get("active_at"),
        };
        let last_position: i64 = first.get("last_position");
        let positions = rows.iter().filter_map(|row| row.get("position"));
        let positions: Vec<i64> = positions.collect();

        // Positions are counted from 1 without gaps, so they tell whether there are more messages.
        let earlier = positions.iter().min().filter(|first| **first > 1);
        let later = positions.iter().max().filter(|last| **last < last_position);
        let earlier = earlier.map(|first| CursorPosition::EarlierThan(Anchor(*first)));
        let later = later.map(|last| CursorPosition::LaterThan(Anchor(*last)));
        let (previous, next) = match order {
            Order::OldestFirst => (earlier, later),
            Order::NewestFirst => (later, earlier),
        };
        let list = list_name(id, order);
        let write = |position: Option<CursorPosition>| position.map(|it| cursor::write(&it, &list)).transpose();
        Ok(Page {
            room,
            // A page shows a reply once it is whole.
            messages: rows[..positions.len()].iter().map(|row| Message { draft: None, ..row.into() }).collect(),
            next_cursor: write(next)?,
            previous_cursor: write(previous)?,
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::serve_with_query(&["limit", "cursor", "order"], App::from_env, get).await
}

#[cfg(test)]
mod tests {
    //! Pages in both orders and both directions, and how large they are.

    use std::collections::HashMap;

    use lambda_http::RequestExt;
    use serde_json::{Value, json};
    use shared::{
        auth::Caller,
        database::Parameter,
        testing::{self, parts, request},
    };

    use super::*;

    async fn app() -> App {
        App { tokens: TokenVerifier::from_env().unwrap(), database: testing::database().await }
    }

    /// A room with messages that say their positions.
    async fn room_of(app: &App, caller: Caller, messages: usize) -> ChatroomId {
        let room = testing::chatroom(&app.database, caller).await;
        for position in 1..=messages {
            testing::message(&app.database, caller, room, &position.to_string()).await;
        }
        room
    }

    async fn page(app: &App, caller: Caller, room: ChatroomId, query: &[(&str, &str)]) -> Value {
        let query: HashMap<String, Vec<String>> =
            query.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()])).collect();
        let request = request(caller, &[("id", room.to_string())], &json!({}));
        let request = request.with_query_string_parameters(query);
        parts(&get(app, request).await.unwrap()).1
    }

    fn contents(page: &Value) -> Vec<usize> {
        let messages = page["messages"].as_array().unwrap().iter();
        messages.map(|message| message["content"].as_str().unwrap().parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn pages_lead_to_the_end_and_back_in_both_orders_and_show_every_message_once() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        let room = room_of(&app, caller, 7).await;
        for (order, expected) in [("asc", [1, 2, 3, 4, 5, 6, 7]), ("desc", [7, 6, 5, 4, 3, 2, 1])] {
            for limit in ["1", "3", "7", "100"] {
                let query = [("order", order), ("limit", limit)];
                let mut current = page(&app, caller, room, &query).await;
                assert_eq!(current["previous_cursor"], json!(null));
                let mut there = vec![contents(&current)];
                while let Some(next) = current["next_cursor"].as_str().map(str::to_owned) {
                    let query = [query[0], query[1], ("cursor", &next)];
                    current = page(&app, caller, room, &query).await;
                    there.push(contents(&current));
                }
                assert_eq!(there.concat(), expected, "{order}, pages of {limit}");

                let mut back = vec![contents(&current)];
                while let Some(previous) = current["previous_cursor"].as_str().map(str::to_owned) {
                    let query = [query[0], query[1], ("cursor", &previous)];
                    current = page(&app, caller, room, &query).await;
                    back.insert(0, contents(&current));
                }
                assert_eq!(back.concat(), expected, "{order}, back by pages of {limit}");
            }
        }
    }

    #[tokio::test]
    async fn a_room_without_messages_has_one_page_without_cursors() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        let room = room_of(&app, caller, 0).await;
        let page = page(&app, caller, room, &[("order", "desc")]).await;
        assert_eq!(page["messages"], json!([]));
        assert_eq!(page["next_cursor"], json!(null));
        assert_eq!(page["previous_cursor"], json!(null));
    }

    /// The checksum of a cursor is no secret, so a client may send any position of any list.
    #[tokio::test]
    async fn a_forged_cursor_gives_a_page_or_is_malformed() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        let room = room_of(&app, caller, 3).await;
        let bits = (0..64).map(|bit| 1_i64 << bit);
        let positions = bits.flat_map(|power| [power.wrapping_sub(1), power, power.wrapping_neg()]).chain([0, 2]);
        for position in positions {
            for (side, order) in [("LaterThan", "asc"), ("EarlierThan", "desc"), ("LaterThan", "desc")] {
                let list = list_name(room, if order == "asc" { Order::OldestFirst } else { Order::NewestFirst });
                let cursor = cursor::write(&json!({ side: position }), &list).unwrap();
                let query =
                    HashMap::from([("order".to_owned(), vec![order.to_owned()]), ("cursor".into(), vec![cursor])]);
                let request = request(caller, &[("id", room.to_string())], &json!({}));
                match get(&app, request.with_query_string_parameters(query)).await {
                    Ok(_) => assert!(position >= 0, "{side} {position}"),
                    Err(error) => {
                        assert!(matches!(error, Error::Malformed(_)) && position < 0, "{position}: {error:?}");
                    }
                }
            }
        }
    }

    #[tokio::test]
    async fn a_page_of_large_messages_ends_at_four_megabytes_as_lambda_sends_it() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        let room = room_of(&app, caller, 60).await;
        // Quotes and line breaks, of which each takes four and three bytes where it is escaped twice.
        let settle = "
            update messages
            set status = 'answered', settled_at = now(), finish_reason = 'STOP',
                reply = repeat(E'\"\\n', 500 * 64)
            where user_id = $1";
        app.database.query(settle, &[&caller.user]).await.unwrap();
        let mut seen = Vec::new();
        let mut query = vec![("limit", "100".to_owned())];
        loop {
            let query_text: Vec<_> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let current = page(&app, caller, room, &query_text).await;
            let as_lambda_sends_it = json!(current.to_string()).to_string().len();
            assert!(as_lambda_sends_it < 4_100_000, "{as_lambda_sends_it} bytes");
            let shown = contents(&current);
            seen.extend(shown.clone());
            let Some(next) = current["next_cursor"].as_str() else {
                break;
            };
            assert!((15..60).contains(&shown.len()), "{} messages", shown.len());
            query.truncate(1);
            query.push(("cursor", next.to_owned()));
        }
        assert_eq!(seen, (1..=60).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_message_larger_than_a_page_has_a_page_of_its_own() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        let room = room_of(&app, caller, 3).await;
        let settle = "
            update messages
            set status = 'answered', settled_at = now(), finish_reason = 'STOP', reply = repeat('x', 4000000)
            where user_id = $1";
        app.database.query(settle, &[&caller.user]).await.unwrap();
        let first = page(&app, caller, room, &[("order", "desc")]).await;
        assert_eq!(contents(&first), [3]);
        let next = first["next_cursor"].as_str().unwrap();
        let second = page(&app, caller, room, &[("order", "desc"), ("cursor", next)]).await;
        assert_eq!(contents(&second), [2]);
    }

    #[tokio::test]
    async fn a_page_of_a_hundred_thousand_messages_reads_no_others_wherever_it_lies() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        let room = testing::chatroom(&app.database, caller).await;
        let fill = "
            with filled as (
                insert into messages (user_id, id, chatroom_id, position, content)
                select $1, gen_random_uuid(), $2, n, n::text from generate_series(1, 100000) n
            )
            update chatrooms set last_position = 100000 where user_id = $1 and id = $2";
        let filled = app.database.query(fill, &[&caller.user, &room]).await;
        filled.unwrap();
        app.database.query("analyze messages", &[]).await.unwrap();
        for (anchor, later) in [(0, true), (50_000, true), (50_000, false), (i64::MAX, false)] {
            let analyze = format!("analyze {GET}");
            let parameters: [&dyn Parameter; 6] = [&caller.user, &room, &anchor, &later, &50_i64, &PAGE_BYTES];
            let plan = testing::plan(&app.database, &analyze, &parameters).await;
            let steps = plan.split("actual ").skip(1);
            let read = steps.filter_map(|step| step.split("rows=").nth(1)?.split(['.', ' ']).next());
            let read: Vec<u32> = read.map(|rows| rows.parse().unwrap()).collect();
            assert!(read.contains(&50) && read.iter().all(|rows| *rows <= 50), "{plan}");
        }
        let newest = page(&app, caller, room, &[("order", "desc"), ("limit", "2")]).await;
        assert_eq!(contents(&newest), [100_000, 99_999]);
    }
}
