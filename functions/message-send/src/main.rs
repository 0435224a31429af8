//! `POST /chatroom/{id}/message`: accepts a message and wakes the room's worker.
//!
//! The 202 is a promise: message, quota and idempotency key are stored by one statement before it is given. The
//! wake-up may fail; the sweep finds the room.

use std::time::Duration;

use lambda_http::{Body, Request, Response};
use serde::{Deserialize, Serialize};
use shared::{
    Error, Result,
    auth::TokenVerifier,
    chatroom_cache::ChatroomCache,
    config::ConfigError,
    database::{self, Database},
    domain::{ChatroomId, Content, DailyLimits, MessageId, Status, UserId},
    error::OverLimit,
    http,
    queue::Queue,
};
use time::OffsetDateTime;

/// How soon it is worth looking for the reply.
const RETRY_AFTER: Duration = Duration::from_secs(1);

struct App {
    tokens: TokenVerifier,
    database: Database,
    queue: Queue,
    cache: ChatroomCache,
    limits: DailyLimits,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            tokens: TokenVerifier::from_env()?,
            database: Database::from_env()?,
            queue: Queue::from_env()?,
            cache: ChatroomCache::from_env()?,
            limits: DailyLimits::from_env()?,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    content: Content,
}

/// A message as it was accepted. An accepted one is shown the same however often it is posted.
#[derive(Serialize)]
struct Message {
    id: MessageId,
    chatroom_id: ChatroomId,
    content: String,
    status: Status,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

enum Outcome {
    /// Stored now, or before under the same key.
    Accepted(Message),
    OverLimit(OverLimit),
    NoSuchRoom,
}

/// Accepts at most one message for each idempotency key, and none past the day's limit, under any concurrency: the
/// counter's `on conflict … where used < daily` locks its row, and the message is inserted only from it. A twin with
/// the same key that commits meanwhile breaks the unique index, and nothing of this statement stays.
///
/// Locking the room first keeps a room that is deleted meanwhile from costing quota. `prior` also finds the message by
/// its own id, in case this very statement is sent twice.
const ACCEPT: &str = "
    -- $1 user, $2 room, $3 message, $4 idempotency key, $5 content, $6 and $7 messages a day of Basic and Pro
    with room as (
        select id from chatrooms where user_id = $1 and id = $2 for no key update
    ), prior as (
        select id, chatroom_id, content, created_at from messages where user_id = $1 and id = $3
        union
        select id, chatroom_id, content, created_at from messages where user_id = $1 and idempotency_key = $4
    ), allowance as (
        select case plan when 'pro' then $7::int else $6::int end as daily from plans where user_id = $1
    ), quota as (
        insert into daily_usage as usage (user_id, day, used)
        select $1, (now() at time zone 'utc')::date, 1
        from room, allowance
        where daily > 0 and not exists (select from prior)
        on conflict (user_id, day) do update set used = usage.used + 1
        where usage.used < (select daily from allowance)
        returning used
    ), place as (
        update chatrooms
        set last_position = last_position + 1, active_at = now()
        from quota
        where user_id = $1 and id = $2
        returning last_position
    ), message as (
        insert into messages (user_id, id, chatroom_id, position, content, idempotency_key)
        select $1, $3, $2, last_position, $5, $4 from place
        returning id, chatroom_id, content, created_at
    )
    select allowance.daily, exists (select from room) as room_exists, accepted.*
    from allowance
    left join (select * from message union all select * from prior) accepted on true";

async fn send(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let room: ChatroomId = http::path(&request, "id", "chatroom")?;
    let key = http::idempotency_key(&request)?;
    let draft: Draft = http::json(&request)?;

    match app
        .accept(room, caller.user, key, draft.content.as_str())
        .await?
    {
        Outcome::Accepted(message)
            if message.chatroom_id == room && message.content == draft.content.as_str() =>
        {
            // Both may fail; neither is part of the promise.
            tokio::join!(
                app.queue.wake(room, caller.user),
                app.cache.forget(caller.user)
            );
            let location = format!("/chatroom/{room}/message/{}", message.id);
            http::accepted(Some((&location, RETRY_AFTER)), &message)
        }
        Outcome::Accepted(_) => Err(Error::KeyReused),
        Outcome::OverLimit(over) => Err(Error::OverLimit(over)),
        Outcome::NoSuchRoom => Err(Error::NotFound("chatroom")),
    }
}

impl App {
    /// With a key, a first look may miss a twin that was accepted while the statement ran: it then breaks the unique
    /// key, or finds the twin's message at the limit. Either way a second look sees the twin.
    async fn accept(
        &self,
        room: ChatroomId,
        user: UserId,
        key: Option<&str>,
        content: &str,
    ) -> Result<Outcome> {
        let id = MessageId::new();
        match self.try_accept(id, room, user, key, content).await {
            Ok(Outcome::OverLimit(_)) | Err(database::Error::Duplicate(_)) if key.is_some() => {
                Ok(self.try_accept(id, room, user, key, content).await?)
            }
            outcome => Ok(outcome?),
        }
    }

    async fn try_accept(
        &self,
        id: MessageId,
        room: ChatroomId,
        user: UserId,
        key: Option<&str>,
        content: &str,
    ) -> Result<Outcome, database::Error> {
        let row = self
            .database
            .query_opt(
                ACCEPT,
                &[
                    &user,
                    &room,
                    &id,
                    &key,
                    &content,
                    &self.limits.basic,
                    &self.limits.pro,
                ],
            )
            .await?;
        // Without a row the account is gone, and its rooms with it.
        let Some(row) = row.filter(|row| row.get("room_exists")) else {
            return Ok(Outcome::NoSuchRoom);
        };
        Ok(match row.get("id") {
            Some(id) => Outcome::Accepted(Message {
                id,
                chatroom_id: row.get("chatroom_id"),
                content: row.get("content"),
                status: Status::Queued,
                created_at: row.get("created_at"),
            }),
            None => Outcome::OverLimit(over_limit(row.get("daily"))),
        })
    }
}

fn over_limit(daily: i32) -> OverLimit {
    let now = OffsetDateTime::now_utc();
    let midnight = now.date().midnight().assume_utc() + time::Duration::DAY;
    OverLimit {
        policy: "daily-messages",
        detail: "Today's messages are used up. Your plan allows more tomorrow (UTC).",
        limit: u32::try_from(daily).unwrap_or_default(),
        window: Duration::from_hours(24),
        retry_after: (midnight - now).unsigned_abs(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, send).await
}

#[cfg(test)]
mod tests {
    //! One statement decides; these are the races it must win.

    use futures_util::future::join_all;
    use serde_json::{Value, json};
    use shared::{
        auth::Caller,
        testing::{self, parts, request},
    };

    use super::*;

    async fn app(basic: i32) -> App {
        App {
            tokens: TokenVerifier::from_env().unwrap(),
            database: testing::database().await,
            queue: Queue::from_env().unwrap(),
            cache: ChatroomCache::from_env().unwrap(),
            limits: DailyLimits { basic, pro: 1_000 },
        }
    }

    /// Connections of their own, so that requests meet in Postgres and not in one pipeline.
    async fn post_at_once(
        app: &App,
        times: usize,
        post: impl Fn() -> Request,
    ) -> Vec<Result<Value>> {
        let twins: Vec<App> = (0..times)
            .map(|_| App {
                tokens: TokenVerifier::from_env().unwrap(),
                database: app.database.another_connection(),
                queue: Queue::from_env().unwrap(),
                cache: ChatroomCache::from_env().unwrap(),
                limits: app.limits,
            })
            .collect();
        let posts = twins.iter().map(|twin| send(twin, post()));
        let answers = join_all(posts).await;
        answers
            .into_iter()
            .map(|answer| answer.map(|response| parts(&response).1))
            .collect()
    }

    fn post(caller: Caller, room: ChatroomId, key: Option<&str>, content: &str) -> Request {
        let mut request = request(
            caller,
            &[("id", room.to_string())],
            &json!({ "content": content }),
        );
        if let Some(key) = key {
            request
                .headers_mut()
                .insert("idempotency-key", key.parse().unwrap());
        }
        request
    }

    async fn count(app: &App, sql: &str) -> i64 {
        app.database.query_one(sql, &[]).await.unwrap().get(0)
    }

    const MESSAGES: &str = "select count(*) from messages";
    const USED: &str = "select coalesce(sum(used), 0)::int8 from daily_usage";

    #[tokio::test]
    async fn of_forty_parallel_posts_exactly_the_allowed_five_are_accepted() {
        let app = app(5).await;
        let caller = testing::user(&app.database).await;
        let room = testing::chatroom(&app.database, caller).await;

        let answers = post_at_once(&app, 40, || post(caller, room, None, "hello")).await;

        let refused = answers
            .iter()
            .filter(|answer| matches!(answer, Err(Error::OverLimit(_))));
        assert_eq!(refused.count(), 35);
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 5);
        assert_eq!(
            (count(&app, MESSAGES).await, count(&app, USED).await),
            (5, 5)
        );
    }

    #[tokio::test]
    async fn twenty_parallel_posts_with_one_key_make_one_message_even_at_the_limit() {
        let app = app(1).await;
        let caller = testing::user(&app.database).await;
        let room = testing::chatroom(&app.database, caller).await;

        let answers = post_at_once(&app, 20, || post(caller, room, Some("key"), "hello")).await;

        let first = answers[0].as_ref().unwrap();
        assert!(
            answers
                .iter()
                .all(|answer| answer.as_ref().unwrap() == first)
        );
        assert_eq!(
            (count(&app, MESSAGES).await, count(&app, USED).await),
            (1, 1)
        );
    }

    #[tokio::test]
    async fn a_key_is_good_for_one_body_in_one_room() {
        let app = app(5).await;
        let caller = testing::user(&app.database).await;
        let room = testing::chatroom(&app.database, caller).await;
        let other = testing::chatroom(&app.database, caller).await;
        send(&app, post(caller, room, Some("key"), "hello"))
            .await
            .unwrap();

        let again = send(&app, post(caller, room, Some("key"), "goodbye")).await;
        assert!(matches!(again, Err(Error::KeyReused)), "{again:?}");
        let elsewhere = send(&app, post(caller, other, Some("key"), "hello")).await;
        assert!(matches!(elsewhere, Err(Error::KeyReused)), "{elsewhere:?}");
        assert_eq!(
            (count(&app, MESSAGES).await, count(&app, USED).await),
            (1, 1)
        );
    }

    #[tokio::test]
    async fn another_users_room_takes_no_message_and_costs_nothing() {
        let app = app(5).await;
        let owner = testing::user(&app.database).await;
        let stranger = testing::user(&app.database).await;
        let room = testing::chatroom(&app.database, owner).await;

        let answer = send(&app, post(stranger, room, None, "hello")).await;
        assert!(
            matches!(answer, Err(Error::NotFound("chatroom"))),
            "{answer:?}"
        );
        assert_eq!(
            (count(&app, MESSAGES).await, count(&app, USED).await),
            (0, 0)
        );
    }

    #[tokio::test]
    async fn a_statement_sent_twice_accepts_once() {
        let app = app(5).await;
        let caller = testing::user(&app.database).await;
        let room = testing::chatroom(&app.database, caller).await;
        let id = MessageId::new();
        for _ in 0..2 {
            let outcome = app
                .try_accept(id, room, caller.user, None, "hello")
                .await
                .unwrap();
            assert!(matches!(outcome, Outcome::Accepted(message) if message.id == id));
        }
        assert_eq!(
            (count(&app, MESSAGES).await, count(&app, USED).await),
            (1, 1)
        );
    }

    #[tokio::test]
    async fn pro_raises_the_limit_at_once() {
        let app = app(0).await;
        let caller = testing::user(&app.database).await;
        let room = testing::chatroom(&app.database, caller).await;
        let answer = send(&app, post(caller, room, None, "hello")).await;
        assert!(matches!(answer, Err(Error::OverLimit(_))), "{answer:?}");

        let pay = "insert into subscriptions (user_id, stripe_customer_id, status) values ($1, 'cus_1', 'active')";
        app.database.query(pay, &[&caller.user]).await.unwrap();
        send(&app, post(caller, room, None, "hello")).await.unwrap();
    }
}
