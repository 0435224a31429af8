//! `POST /auth/logout`: ends this session, or all of the user's.
//!
//! Their refresh tokens stop working at once. An access token issued before can read for up to 15 minutes more, but
//! changes nothing for good: those statements check the session.

use lambda_http::{Body, Request, Response};
use serde::Deserialize;
use shared::{Error, Result, auth::TokenVerifier, config::ConfigError, database::Database, http};

struct App {
    tokens: TokenVerifier,
    database: Database,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self { tokens: TokenVerifier::from_env()?, database: Database::from_env()? })
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Extent {
    everywhere: bool,
}

/// Ends the session itself in any case, and the others only while it lasts: a token of an ended session cannot sign the
/// owner out.
const END: &str = "
    -- $1 user, $2 session, $3 whether everywhere
    with everywhere as (
        update users set generation = users.generation + 1
        from sessions
        where $3 and users.id = $1
          and sessions.user_id = $1 and sessions.id = $2 and sessions.generation = users.generation
        returning users.id
    ), ended as (
        delete from sessions where user_id = $1 and (id = $2 or exists (select from everywhere))
    )
    select not $3 or exists (select from everywhere)";

async fn log_out(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let extent: Extent = http::json_or_default(&request)?;
    let row = app.database.query_one(END, &[&caller.user, &caller.session, &extent.everywhere]).await?;
    if row.get(0) { http::no_content() } else { Err(Error::SessionEnded) }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, log_out).await
}

#[cfg(test)]
mod tests {
    //! Tests which sessions end.

    use serde_json::json;
    use shared::{
        auth::Caller,
        domain::SessionId,
        testing::{self, request},
    };

    use super::*;

    async fn app() -> App {
        App { tokens: TokenVerifier::from_env().unwrap(), database: testing::database().await }
    }

    async fn another_session(app: &App, caller: Caller) -> Caller {
        let session = SessionId::new();
        let sql = "insert into sessions (user_id, id, generation) select id, $2, generation from users where id = $1";
        let stored = app.database.query(sql, &[&caller.user, &session]).await;
        stored.unwrap();
        Caller { session, ..caller }
    }

    async fn sessions(app: &App) -> i64 {
        let sql = "select count(*) from sessions join users on users.id = user_id
                   where users.generation = sessions.generation";
        app.database.query_one(sql, &[]).await.unwrap().get(0)
    }

    #[tokio::test]
    async fn everywhere_ends_all_sessions_of_this_user_and_of_nobody_else() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        another_session(&app, caller).await;
        testing::user(&app.database).await;
        let everywhere = request(caller, &[], &json!({ "everywhere": true }));
        log_out(&app, everywhere).await.unwrap();
        assert_eq!(sessions(&app).await, 1);
    }

    #[tokio::test]
    async fn a_session_that_logs_out_ends_alone() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        another_session(&app, caller).await;
        log_out(&app, request(caller, &[], &json!({}))).await.unwrap();
        assert_eq!(sessions(&app).await, 1);
    }

    #[tokio::test]
    async fn an_ended_session_ends_no_other() {
        for end in
            ["delete from sessions where id = $1", "update sessions set generation = generation - 1 where id = $1"]
        {
            let app = app().await;
            let caller = testing::user(&app.database).await;
            another_session(&app, caller).await;
            app.database.query(end, &[&caller.session]).await.unwrap();

            let everywhere = request(caller, &[], &json!({ "everywhere": true }));
            let refused = log_out(&app, everywhere).await;
            assert!(matches!(refused, Err(Error::SessionEnded)), "{end}: {refused:?}");
            assert_eq!(sessions(&app).await, 1, "{end}");
        }
    }
}
