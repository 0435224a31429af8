//! `POST /auth/change-password`: sets a first or another password, and ends the user's other sessions.
//!
//! It takes two statements, since the stored hash must be read before the current password can be verified. The second
//! one repeats what was read as its condition: of two changes at once, one wins and the other is refused.

use lambda_http::{Body, Request, Response};
use secrecy::SecretString;
use serde::Deserialize;
use shared::{
    Error, Result,
    auth::{
        Attempts, Caller, Password, TokenVerifier,
        passwords::{self, Verdict},
    },
    config::ConfigError,
    database::Database,
    http,
};

struct App {
    tokens: TokenVerifier,
    database: Database,
    attempts: Attempts,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            tokens: TokenVerifier::from_env()?,
            database: Database::from_env()?,
            attempts: Attempts::from_env()?,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    current_password: Option<SecretString>,
    new_password: Password,
}

/// Reads the stored hash, and whether the session lasts and is fresh. A first password takes an account over for good,
/// so it needs a fresh session. A user without a password signs in by code only, so a code opened the session.
const ACCOUNT: &str = "
    -- $1 user, $2 session
    select users.password_hash, sessions.id is not null as lasts,
           sessions.created_at > now() - interval '10 minutes' as fresh
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
          and ($3 is not null or sessions.created_at > now() - interval '10 minutes')
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
    let change: Change = http::json(&request)?;

    let row = app.database.query_opt(ACCOUNT, &[&caller.user, &caller.session]).await?.ok_or(Error::AccountGone)?;
    if !row.get::<_, bool>("lasts") {
        return Err(Error::SessionEnded);
    }
    let stored: Option<String> = row.get("password_hash");
    if let Some(stored) = &stored {
        app.check_current(caller, &change, stored).await?;
    } else if !row.get::<_, bool>("fresh") {
        return Err(Error::SignInAgain);
    }

    let hash = change.new_password.hash()?;
    let row = app.database.query_opt(CHANGE, &[&caller.user, &caller.session, &stored, &hash]).await?;
    row.ok_or(Error::WrongPassword)?;
    http::no_content()
}

impl App {
    async fn check_current(&self, caller: Caller, change: &Change, stored: &str) -> Result<()> {
        let current = change.current_password.as_ref();
        let current = current.ok_or_else(|| Error::invalid("current_password", "is required: a password is set"))?;
        passwords::count_change(&self.attempts, caller.user).await?;
        match passwords::verify(current, Some(stored))? {
            Verdict::Wrong => Err(Error::WrongPassword),
            Verdict::Right | Verdict::Outdated(_) => {
                passwords::give_back_change(&self.attempts, caller.user).await;
                Ok(())
            }
        }
    }
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
            attempts: Attempts::from_env().unwrap(),
        }
    }

    async fn set_first(app: &App, caller: Caller) -> Result<Response<Body>> {
        let body = json!({ "new_password": "correct horse battery" });
        change(app, request(caller, &[], &body)).await
    }

    async fn run(app: &App, sql: &str) {
        app.database.query(sql, &[]).await.unwrap();
    }

    async fn has_password(app: &App) -> bool {
        let sql = "select password_hash is not null from users";
        app.database.query_one(sql, &[]).await.unwrap().get(0)
    }

    #[tokio::test]
    async fn an_ended_session_sets_no_password() {
        for end in ["delete from sessions", "update users set generation = generation + 1"] {
            let app = app().await;
            let caller = testing::user(&app.database).await;
            run(&app, end).await;
            let refused = set_first(&app, caller).await;
            assert!(matches!(refused, Err(Error::SessionEnded)), "{refused:?}");
            assert!(!has_password(&app).await);
        }
    }

    #[tokio::test]
    async fn a_session_that_ends_or_is_ten_minutes_old_after_the_check_sets_no_first_password() {
        for change in [
            "delete from sessions",
            "update users set generation = generation + 1",
            "update sessions set created_at = created_at - interval '10 minutes'",
        ] {
            let app = app().await;
            let caller = testing::user(&app.database).await;
            run(&app, change).await;
            let parameters: [&dyn Parameter; 4] = [&caller.user, &caller.session, &None::<&str>, &"a hash"];
            let changed = app.database.query_opt(CHANGE, &parameters).await.unwrap();
            assert!(changed.is_none(), "{change}");
            assert!(!has_password(&app).await, "{change}");
        }
    }

    #[tokio::test]
    async fn a_first_password_needs_a_session_of_the_last_ten_minutes() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        let later = "update sessions set created_at = created_at - interval '10 minutes'";
        run(&app, later).await;
        let refused = set_first(&app, caller).await;
        assert!(matches!(refused, Err(Error::SignInAgain)), "{refused:?}");
        assert!(!has_password(&app).await);
        run(&app, "update sessions set created_at = now()").await;
        set_first(&app, caller).await.unwrap();
        // From then on the current password proves more than a fresh session does.
        run(&app, later).await;
        let body = json!({
            "current_password": "correct horse battery", "new_password": "staple battery horse",
        });
        change(&app, request(caller, &[], &body)).await.unwrap();
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
