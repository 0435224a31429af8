//! `GET /user/me/sessions`: lists the caller's sessions, newest first, so that a stranger's is noticed and ended.

use lambda_http::{Body, Request, Response};
use serde::Serialize;
use shared::{
    Error, Result,
    auth::{Caller, TokenVerifier, sessions::SESSIONS},
    config::ConfigError,
    database::{Database, Row},
    domain::Session,
    http,
};

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
struct Sessions {
    items: Vec<Session>,
}

/// Reads the sessions that last. A moment after many sign-ins at once there may be more than the limit.
const LIST: &str = "
    -- $1 user, $2 how many may last
    select sessions.id, sessions.created_at, last_used_at, device
    from sessions join users on users.id = sessions.user_id and users.generation = sessions.generation
    where sessions.user_id = $1
    order by sessions.created_at desc, sessions.id desc
    limit $2";

async fn list(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let rows = app.database.query(LIST, &[&caller.user, &SESSIONS]).await?;
    let items: Vec<_> = rows.iter().map(|row| session(row, caller)).collect();
    if items.iter().any(|session| session.current) { http::ok(&Sessions { items }) } else { Err(Error::SessionEnded) }
}

fn session(row: &Row, caller: Caller) -> Session {
    let id = row.get("id");
    Session {
        id,
        created_at: row.get("created_at"),
        last_used_at: row.get("last_used_at"),
        device: row.get("device"),
        current: id == caller.session,
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, list).await
}

#[cfg(test)]
mod tests {
    //! Tests whose sessions are listed, and which of them.

    use serde_json::{Value, json};
    use shared::testing::{self, parts, request};

    use super::*;

    async fn app() -> App {
        App { tokens: TokenVerifier::from_env().unwrap(), database: testing::database().await }
    }

    async fn listed(app: &App, caller: Caller) -> Vec<Value> {
        let response = list(app, request(caller, &[], &json!({}))).await.unwrap();
        parts(&response).1["items"].as_array().unwrap().clone()
    }

    #[tokio::test]
    async fn the_callers_lasting_sessions_are_listed_newest_first_and_nobody_elses() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        testing::user(&app.database).await;
        let others = "
            insert into sessions (user_id, id, generation, created_at, device)
            select id, gen_random_uuid(), generation + since, now() - since * interval '1 day', 'day ' || since
            from users, generate_series(-1, 1) since where id = $1 and since <> 0
            union all select id, gen_random_uuid(), generation, now() - interval '2 days', 'Firefox on Linux'
            from users where id = $1";
        app.database.query(others, &[&caller.user]).await.unwrap();
        let sessions = listed(&app, caller).await;
        let [mine, other] = &sessions[..] else {
            panic!("two last: {sessions:?}");
        };
        assert_eq!((&mine["id"], &mine["current"]), (&json!(caller.session), &json!(true)));
        assert_eq!((&mine["device"], &other["device"]), (&json!(null), &json!("Firefox on Linux")));
        assert_eq!(other["current"], false);
    }

    #[tokio::test]
    async fn an_ended_session_lists_nothing() {
        for end in ["delete from sessions where id = $1", "update sessions set generation = -1 where id = $1"] {
            let app = app().await;
            let caller = testing::user(&app.database).await;
            app.database.query(end, &[&caller.session]).await.unwrap();
            let refused = list(&app, request(caller, &[], &json!({}))).await;
            assert!(matches!(refused, Err(Error::SessionEnded)), "{end}: {refused:?}");
        }
    }
}
