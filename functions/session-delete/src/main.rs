//! `DELETE /user/me/sessions/{id}`: ends one of the caller's sessions, which may be the one that asks.
//!
//! Its refresh tokens stop working at once; its access token can read for up to 15 minutes more.

use lambda_http::{Body, Request, Response};
use shared::{Error, Result, auth::TokenVerifier, config::ConfigError, database::Database, domain::SessionId, http};

struct App {
    tokens: TokenVerifier,
    database: Database,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self { tokens: TokenVerifier::from_env()?, database: Database::from_env()? })
    }
}

/// Ends a session that lasts, for a session that lasts: whoever holds the token of an ended one ends no other.
const END: &str = "
    -- $1 user, $2 the session that asks, $3 the one to end
    with asking as (
        select sessions.generation
        from sessions join users on users.id = sessions.user_id and users.generation = sessions.generation
        where sessions.user_id = $1 and sessions.id = $2
    ), ended as (
        delete from sessions using asking
        where user_id = $1 and id = $3 and sessions.generation = asking.generation
        returning id
    )
    select exists (select from asking) as lasts, exists (select from ended) as ended";

async fn end(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let session: SessionId = http::path(&request, "id", "session")?;
    let row = app.database.query_one(END, &[&caller.user, &caller.session, &session]).await?;
    match (row.get("lasts"), row.get("ended")) {
        (false, _) => Err(Error::SessionEnded),
        (true, false) => Err(Error::NotFound("session")),
        (true, true) => http::no_content(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, end).await
}

#[cfg(test)]
mod tests {
    //! Tests who ends which session.

    use serde_json::json;
    use shared::{
        auth::Caller,
        testing::{self, request},
    };

    use super::*;

    async fn app() -> App {
        App { tokens: TokenVerifier::from_env().unwrap(), database: testing::database().await }
    }

    async fn another_session(app: &App, caller: Caller, generation: i64) -> SessionId {
        let session = SessionId::new();
        let sql = "insert into sessions (user_id, id, generation) values ($1, $2, $3)";
        app.database.query(sql, &[&caller.user, &session, &generation]).await.unwrap();
        session
    }

    async fn end_as(app: &App, caller: Caller, session: SessionId) -> Result<Response<Body>> {
        end(app, request(caller, &[("id", session.to_string())], &json!({}))).await
    }

    async fn sessions(app: &App) -> i64 {
        app.database.query_one("select count(*) from sessions", &[]).await.unwrap().get(0)
    }

    #[tokio::test]
    async fn the_named_session_ends_and_no_other() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        let other = another_session(&app, caller, 0).await;
        end_as(&app, caller, other).await.unwrap();
        let again = end_as(&app, caller, other).await;
        assert!(matches!(again, Err(Error::NotFound("session"))), "{again:?}");
        assert_eq!(sessions(&app).await, 1);
        end_as(&app, caller, caller.session).await.unwrap();
        assert_eq!(sessions(&app).await, 0);
    }

    #[tokio::test]
    async fn another_users_session_looks_like_one_that_does_not_exist() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        let other = testing::user(&app.database).await;
        let long_ended = another_session(&app, caller, -1).await;
        for session in [other.session, long_ended, SessionId::new()] {
            let refused = end_as(&app, caller, session).await;
            assert!(matches!(refused, Err(Error::NotFound("session"))), "{refused:?}");
        }
        assert_eq!(sessions(&app).await, 3);
    }

    #[tokio::test]
    async fn an_ended_session_ends_no_other() {
        for end in ["delete from sessions where id = $1", "update sessions set generation = -1 where id = $1"] {
            let app = app().await;
            let caller = testing::user(&app.database).await;
            let other = another_session(&app, caller, 0).await;
            app.database.query(end, &[&caller.session]).await.unwrap();
            let refused = end_as(&app, caller, other).await;
            assert!(matches!(refused, Err(Error::SessionEnded)), "{end}: {refused:?}");
            let left = "select count(*) from sessions where generation = 0";
            assert_eq!(app.database.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 1, "{end}");
        }
    }
}
