//! `POST /auth/change-password`: sets a first or another password, and ends the user's other sessions.
//!
//! A first password takes the account over for good, so it needs a proof of the moment: see
//! [`confirmation`](shared::auth::confirmation).
//!
//! It takes two statements, since the stored hash must be read before the current password can be verified. The second
//! one repeats what was read as its condition: of two changes at once, one wins and the other is refused.

use lambda_http::{Body, Request, Response};
use secrecy::SecretString;
use serde::Deserialize;
use shared::{
    Error, Result,
    auth::{
        Confirmation, Confirmer, Password, TokenVerifier,
        codes::{Challenge, Guess},
    },
    config::ConfigError,
    database::Database,
    http,
};

struct App {
    tokens: TokenVerifier,
    database: Database,
    confirmer: Confirmer,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            tokens: TokenVerifier::from_env()?,
            database: Database::from_env()?,
            confirmer: Confirmer::from_env()?,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    current_password: Option<SecretString>,
    challenge: Option<Challenge>,
    otp: Option<Guess>,
    new_password: Password,
}

/// Returns the proof that a change needs: the current password if there is one, and a code if there is none.
fn confirmation(
    is_first: bool,
    current_password: Option<SecretString>,
    challenge: Option<Challenge>,
    otp: Option<Guess>,
) -> Result<Option<Confirmation>> {
    match current_password {
        _ if is_first => Ok(Confirmation::of(None, challenge, otp)),
        Some(current) => Ok(Some(Confirmation::Password(current))),
        None => Err(Error::invalid("current_password", "is required: a password is set")),
    }
}

/// Reads the stored hash, and whether the session lasts.
const ACCOUNT: &str = "
    -- $1 user, $2 session
    select users.mobile, users.password_hash, sessions.id is not null as lasts
    from users left join sessions
        on sessions.user_id = users.id and sessions.id = $2 and sessions.generation = users.generation
    where users.id = $1";

/// Raises the generation, which ends all sessions, also one that is being opened at this moment, and moves the caller's
/// to the new generation. `password_hash = $4` finds the row of a first run, in case the statement is sent twice.
const CHANGE: &str = "
    -- $1 user, $2 session, $3 stored hash, $4 new one
    with owner as (
        update users
        set password_hash = $4, generation = users.generation + 1
        from sessions
        where users.id = $1 and (password_hash is not distinct from $3 or password_hash = $4)
          and sessions.user_id = $1 and sessions.id = $2 and sessions.generation = users.generation
        returning users.id, users.generation
    ), kept as (
        update sessions set generation = owner.generation
        from owner
        where sessions.user_id = $1 and sessions.id = $2
    ), ended as (
        delete from sessions using owner where sessions.user_id = $1 and sessions.id <> $2
    )
    select id from owner";

async fn change(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let Change { current_password, challenge, otp, new_password } = http::json(&request)?;

    let row = app.database.query_opt(ACCOUNT, &[&caller.user, &caller.session]).await?.ok_or(Error::AccountGone)?;
    if !row.get::<_, bool>("lasts") {
        return Err(Error::SessionEnded);
    }
    let stored: Option<String> = row.get("password_hash");
    let confirmation = confirmation(stored.is_none(), current_password, challenge, otp)?;
    app.confirmer.check(confirmation, &row.get("mobile"), stored.as_deref(), &request).await?;

    let hash = new_password.hash()?;
    let row = app.database.query_opt(CHANGE, &[&caller.user, &caller.session, &stored, &hash]).await?;
    row.ok_or(Error::WrongPassword)?;
    http::no_content()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, change).await
}

#[cfg(test)]
mod tests {
    //! Tests which sessions may change a password, and which survive it.

    use std::time::Duration;

    use futures_util::future::join;
    use serde_json::json;
    use shared::{
        auth::Caller,
        database::Parameter,
        domain::SessionId,
        testing::{self, request},
    };
    use tokio::time::sleep;

    use super::*;

    async fn app() -> App {
        App {
            tokens: TokenVerifier::from_env().unwrap(),
            database: testing::database().await,
            confirmer: Confirmer::from_env().unwrap(),
        }
    }

    async fn set_first(app: &App, caller: Caller) -> Result<Response<Body>> {
        let mut body = testing::confirmation(&app.database, caller).await;
        body["new_password"] = "correct horse battery".into();
        change(app, request(caller, &[], &body)).await
    }

    async fn run(app: &App, sql: &str) {
        app.database.query(sql, &[]).await.unwrap();
    }

    /// How many users have one.
    async fn passwords(app: &App) -> i64 {
        app.database.query_one("select count(password_hash) from users", &[]).await.unwrap().get(0)
    }

    #[tokio::test]
    async fn an_ended_session_sets_no_password() {
        for end in ["delete from sessions", "update users set generation = generation + 1"] {
            let app = app().await;
            let caller = testing::user(&app.database).await;
            run(&app, end).await;
            let refused = set_first(&app, caller).await;
            assert!(matches!(refused, Err(Error::SessionEnded)), "{refused:?}");
            assert_eq!(passwords(&app).await, 0);
        }
    }

    #[tokio::test]
    async fn a_session_that_ends_after_the_check_sets_no_password() {
        for end in ["delete from sessions", "update users set generation = generation + 1"] {
            let app = app().await;
            let caller = testing::user(&app.database).await;
            run(&app, end).await;
            let parameters: [&dyn Parameter; 4] = [&caller.user, &caller.session, &None::<&str>, &"a hash"];
            let changed = app.database.query_opt(CHANGE, &parameters).await.unwrap();
            assert!(changed.is_none(), "{end}");
            assert_eq!(passwords(&app).await, 0, "{end}");
        }
    }

    /// Whoever gets hold of a fresh token must not own the account for good.
    #[tokio::test]
    async fn a_first_password_needs_a_code_that_was_sent_to_confirm_it() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        let first = json!({ "new_password": "correct horse battery" });
        let refused = change(&app, request(caller, &[], &first)).await;
        assert!(matches!(refused, Err(Error::SignInAgain)), "{refused:?}");
        let made_up = json!({ "current_password": "staple battery horse", "new_password": "correct horse battery" });
        let refused = change(&app, request(caller, &[], &made_up)).await;
        assert!(matches!(refused, Err(Error::SignInAgain)), "{refused:?}");

        let other = testing::user(&app.database).await;
        let mut anothers = testing::confirmation(&app.database, other).await;
        anothers["new_password"] = "correct horse battery".into();
        let refused = change(&app, request(caller, &[], &anothers)).await;
        assert!(matches!(refused, Err(Error::WrongCode)), "{refused:?}");
        assert_eq!(passwords(&app).await, 0);
        set_first(&app, caller).await.unwrap();
        assert_eq!(passwords(&app).await, 1);
    }

    #[tokio::test]
    async fn another_password_needs_the_current_one_even_with_a_code() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        set_first(&app, caller).await.unwrap();
        let refused = set_first(&app, caller).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
        let body = json!({
            "current_password": "correct horse battery", "new_password": "staple battery horse",
        });
        change(&app, request(caller, &[], &body)).await.unwrap();
        let refused = change(&app, request(caller, &[], &body)).await;
        assert!(matches!(refused, Err(Error::WrongPassword)), "{refused:?}");
    }

    #[tokio::test]
    async fn a_session_opened_while_the_password_changes_has_ended() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        // Holds the user's row, so that the change has begun but waits; meanwhile a session is opened.
        let opening = "
            do $$ begin
                update users set name = name;
                perform pg_sleep(1);
                insert into sessions (user_id, id, generation) select id, gen_random_uuid(), generation from users;
            end $$";
        let other = app.database.another_connection();
        let (opened, changed) = join(other.query(opening, &[]), async {
            let sleeps = "select exists (select from pg_stat_activity
                where datname = current_database() and wait_event = 'PgSleep')";
            while !app.database.query_one(sleeps, &[]).await.unwrap().get::<_, bool>(0) {
                sleep(Duration::from_millis(10)).await;
            }
            set_first(&app, caller).await
        })
        .await;
        opened.unwrap();
        changed.unwrap();
        let sql = "select array_agg(sessions.id) from sessions join users using (generation)";
        let last: Vec<SessionId> = app.database.query_one(sql, &[]).await.unwrap().get(0);
        assert_eq!(last, [caller.session]);
    }
}
