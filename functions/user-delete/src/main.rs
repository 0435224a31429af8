//! `DELETE /user/me`: ends the subscription and removes the account with its sessions and chatrooms. Its messages are
//! gone with them, and the sweep removes their rows: there may be millions, and a request has seconds.
//!
//! It cannot be undone, so it needs a proof of the moment: see [`confirmation`](shared::auth::confirmation).
//!
//! Stripe comes first, and nothing of the account is touched before it has answered: the customer is deleted there,
//! which ends what is paid at once and cannot be undone. Whatever breaks off in between leaves an account that is
//! whole and pays nothing, and asking again goes on from there. The other way round, a crash would leave somebody
//! paying without an account to cancel with. Therefore there are two statements, with Stripe between them.
//!
//! The list of chatrooms leaves the cache last, also when the account was gone before: a first try may have ended
//! between the two.

use lambda_http::{Body, Request, Response};
use serde::Deserialize;
use shared::{
    Error, Result,
    auth::{
        Caller, Confirmation, Confirmer, Pepper, TokenVerifier, TypedPassword,
        codes::{Challenge, Guess},
        sessions::usage_hash,
    },
    billing::{CustomerId, Payments},
    chatroom_cache::ChatroomCache,
    config::ConfigError,
    database::{Database, Row},
    domain::UserId,
    http,
};

/// Limits how often it starts over when a checkout makes a customer meanwhile.
const ROUNDS: usize = 3;

struct App {
    tokens: TokenVerifier,
    database: Database,
    confirmer: Confirmer,
    payments: Payments,
    pepper: Pepper,
    cache: ChatroomCache,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            tokens: TokenVerifier::from_env()?,
            database: Database::from_env()?,
            confirmer: Confirmer::from_env()?,
            payments: Payments::from_env()?,
            pepper: Pepper::from_env()?,
            cache: ChatroomCache::from_env()?,
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Proof {
    password: Option<TypedPassword>,
    challenge: Option<Challenge>,
    otp: Option<Guess>,
}

/// Reads what a proof is compared with, what must be closed at Stripe, and whether the session lasts.
const ACCOUNT: &str = "
    -- $1 user, $2 session
    select mobile, password_hash, stripe_customer_id, checkout_session_id, sessions.id is not null as lasts
    from users
    left join sessions on sessions.user_id = users.id and sessions.id = $2 and sessions.generation = users.generation
    left join subscriptions on subscriptions.user_id = users.id
    where users.id = $1";

/// Deletes the user's row, and with it everything that refers to it, and asks the sweep for the messages, which do not.
/// But the account stays when its customer is not the one that was closed: deleting the subscription's row waits for a
/// checkout that is just storing a customer, and then looks at the row again. A row without a customer may come at any
/// time; without its user, none is stored.
///
/// The session must still last: a log-out that came first is seen under the lock on both rows.
///
/// What the day's limits count is kept without the account, so that signing up again does not begin a new day: it is
/// added to what earlier accounts of the number did. Only a post that is accepted at the same moment may be missed.
const DELETE: &str = "
    -- $1 user, $2 session, $3 customer, $4 hash of the number
    with owner as (
        select users.id
        from users join sessions
            on sessions.user_id = users.id and sessions.id = $2 and sessions.generation = users.generation
        where users.id = $1
        for update
    ), closed as (
        delete from subscriptions
        using owner
        where user_id = $1 and stripe_customer_id is not distinct from $3
        returning user_id
    ), deleted as (
        delete from users
        using owner
        where users.id = $1
          and (exists (select from closed) or not exists (select from subscriptions where user_id = $1))
        returning users.id
    ), removal as (
        insert into removals (user_id) select id from deleted
    ), usage as (
        insert into departed_usage as departed (number_hash, day, used, accepted, refunded, tokens)
        select $4, day, used, accepted, refunded, tokens
        from deleted join daily_usage on daily_usage.user_id = $1 and day = (now() at time zone 'utc')::date
        on conflict (number_hash, day) do update
        set used = departed.used + excluded.used, accepted = departed.accepted + excluded.accepted,
            refunded = departed.refunded + excluded.refunded, tokens = departed.tokens + excluded.tokens
    )
    select id from deleted";

async fn delete(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let Proof { password, challenge, otp } = http::json_or_default(&request)?;
    let confirmation = Confirmation::of(password, challenge, otp);

    let Some(mut account) = app.account(caller).await? else {
        return app.gone(caller.user).await;
    };
    app.confirmer.check(confirmation, &account.get("mobile"), account.get("password_hash"), &request).await?;
    for _ in 0..ROUNDS {
        if app.close_and_delete(caller, &account).await? {
            return app.gone(caller.user).await;
        }
        account = match app.account(caller).await? {
            Some(account) => account,
            None => return app.gone(caller.user).await,
        };
    }
    Err(Error::unavailable("the account changed too often"))
}

impl App {
    /// Reads the account of a session that lasts. `None` when it is gone.
    async fn account(&self, Caller { user, session }: Caller) -> Result<Option<Row>> {
        let account = self.database.query_opt(ACCOUNT, &[&user, &session]).await?;
        match account {
            Some(account) if !account.get::<_, bool>("lasts") => Err(Error::SessionEnded),
            account => Ok(account),
        }
    }

    /// Closes what is paid and then deletes the account, unless a checkout made another customer meanwhile.
    async fn close_and_delete(&self, Caller { user, session }: Caller, account: &Row) -> Result<bool> {
        let number_hash = usage_hash(&self.pepper, account.get("mobile"));
        let customer: Option<String> = account.get("stripe_customer_id");
        self.close(customer.clone(), account.get("checkout_session_id")).await?;
        let deleted = self.database.query_opt(DELETE, &[&user, &session, &customer, &number_hash]).await?;
        Ok(deleted.is_some())
    }

    /// Ends what is paid, and whatever could still be paid.
    async fn close(&self, customer: Option<String>, page: Option<String>) -> Result<()> {
        let Some(customer) = customer.map(CustomerId) else {
            return Ok(());
        };
        if let Some(page) = page {
            self.payments.expire_checkout(&page).await?;
        }
        Ok(self.payments.delete_customer(&customer).await?)
    }

    /// Answers for an account that no longer exists.
    async fn gone(&self, user: UserId) -> Result<Response<Body>> {
        self.cache.forget(user).await;
        http::no_content()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, delete).await
}

#[cfg(test)]
mod tests {
    //! Tests who deletes an account, and what it leaves behind.

    use serde_json::json;
    use shared::{
        database::Parameter,
        state::StateStore,
        testing::{self, request},
    };

    use super::*;

    async fn app() -> App {
        App {
            tokens: TokenVerifier::from_env().unwrap(),
            database: testing::database().await,
            confirmer: Confirmer::from_env().unwrap(),
            payments: Payments::from_env().unwrap(),
            pepper: Pepper::from_env().unwrap(),
            cache: ChatroomCache::over(StateStore::from_env().unwrap()),
        }
    }

    #[tokio::test]
    async fn a_session_that_ended_even_after_the_check_deletes_nothing() {
        for end in ["delete from sessions", "update users set generation = generation + 1"] {
            let app = app().await;
            let database = &app.database;
            let caller = testing::user(database).await;
            database.query(end, &[]).await.unwrap();
            let refused = delete(&app, request(caller, &[], &json!({}))).await;
            assert!(matches!(refused, Err(Error::SessionEnded)), "{end}: {refused:?}");

            let parameters: [&dyn Parameter; 4] = [&caller.user, &caller.session, &None::<String>, &vec![0_u8]];
            let deleted = database.query(DELETE, &parameters).await.unwrap();
            assert!(deleted.is_empty(), "{end}");
            let left: i64 = database.query_one("select count(*) from users", &[]).await.unwrap().get(0);
            assert_eq!(left, 1, "{end}");
        }
    }

    #[tokio::test]
    async fn an_account_is_gone_at_once_and_does_not_wait_for_its_messages() {
        let app = app().await;
        let database = &app.database;
        let caller = testing::user(database).await;
        for _ in 0..2 {
            let room = testing::chatroom(database, caller).await;
            testing::message(database, caller, room, "hello").await;
        }
        let proof = testing::confirmation(database, caller).await;
        delete(&app, request(caller, &[], &proof)).await.unwrap();
        for (rows, left) in [
            ("users", 0),
            ("sessions", 0),
            ("chatrooms", 0),
            ("daily_usage", 0),
            ("messages", 2),
            ("removals where chatroom_id is null", 1),
        ] {
            let count = database.query_one(&format!("select count(*) from {rows}"), &[]).await.unwrap();
            assert_eq!(count.get::<_, i64>(0), left, "{rows}");
        }
    }

    #[tokio::test]
    async fn what_the_accounts_of_a_number_did_today_adds_up() {
        let app = app().await;
        let hash = vec![7_u8; 32];
        for expected in [1_i64, 2] {
            let caller = testing::user(&app.database).await;
            let room = testing::chatroom(&app.database, caller).await;
            testing::message(&app.database, caller, room, "hello").await;
            let spend = "update daily_usage set refunded = 1, tokens = 1";
            app.database.query(spend, &[]).await.unwrap();
            let parameters: [&dyn Parameter; 4] = [&caller.user, &caller.session, &None::<String>, &hash];
            assert_eq!(app.database.query(DELETE, &parameters).await.unwrap().len(), 1);
            let sums = "select array[used::int8, accepted, refunded, tokens] from departed_usage";
            let sums: Vec<i64> = app.database.query_one(sums, &[]).await.unwrap().get(0);
            assert_eq!(sums, [expected; 4]);
        }
    }

    #[tokio::test]
    async fn a_token_alone_deletes_nothing() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        let refused = delete(&app, request(caller, &[], &json!({}))).await;
        assert!(matches!(refused, Err(Error::SignInAgain)), "{refused:?}");
        let wrong = json!({ "password": "correct horse battery" });
        let refused = delete(&app, request(caller, &[], &wrong)).await;
        assert!(matches!(refused, Err(Error::WrongPassword)), "none is set: {refused:?}");
        let other = testing::user(&app.database).await;
        let anothers = testing::confirmation(&app.database, other).await;
        let refused = delete(&app, request(caller, &[], &anothers)).await;
        assert!(matches!(refused, Err(Error::WrongCode)), "{refused:?}");
        let left: i64 = app.database.query_one("select count(*) from users", &[]).await.unwrap().get(0);
        assert_eq!(left, 2);
    }

    #[tokio::test]
    async fn the_list_of_a_deleted_account_leaves_the_cache_even_if_the_account_was_gone_before() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        let proof = testing::confirmation(&app.database, caller).await;
        for _ in 0..2 {
            let titles = [json!({
                "id": "019b0000-0000-7000-8000-000000000002",
                "title": "A secret of the owner",
                "created_at": "2026-11-22T20:14:47Z",
                "active_at": "2026-11-22T20:14:47Z",
            })];
            let rooms = serde_json::from_value(json!(titles)).unwrap();
            app.cache.list(caller.user, async { Ok(rooms) }).await.unwrap();
            delete(&app, request(caller, &[], &proof)).await.unwrap();
            let left = app.cache.list(caller.user, async { Ok(Vec::new()) });
            assert!(left.await.unwrap().is_empty(), "a room is still in the cache");
            app.cache.forget(caller.user).await;
        }
    }
}
