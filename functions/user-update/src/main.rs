//! `PATCH /user/me`: changes the caller's name, e-mail address or both.
//!
//! What is left out stays; null removes.

use lambda_http::{Body, Request, Response};
use serde::{Deserialize, Deserializer};
use shared::{
    Error, Result,
    auth::TokenVerifier,
    config::ConfigError,
    database::{Database, Parameter},
    domain::{Email, Name, User},
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Changes {
    #[serde(default)]
    name: Change<Name>,
    #[serde(default)]
    email: Change<Email>,
}

/// Says what becomes of a field. A field that is left out keeps its value; null removes it.
#[derive(Default)]
enum Change<T> {
    #[default]
    Keep,
    Set(Option<T>),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::Set)
    }
}

impl<T> Change<T> {
    /// Returns whether to set the field, and to what.
    fn parts(self) -> (bool, Option<T>) {
        match self {
            Self::Keep => (false, None),
            Self::Set(value) => (true, value),
        }
    }
}

/// Changes what is given, for a session that lasts.
const UPDATE: &str = "
    -- $1 user, $2 session, $3 whether to set the name, $4 name, $5 whether to set the address, $6 address
    update users
    set name = case when $3 then $4 else name end, email = case when $5 then $6 else email end
    from sessions, plans
    where users.id = $1 and plans.user_id = $1
      and sessions.user_id = $1 and sessions.id = $2 and sessions.generation = users.generation
    returning users.id, mobile, name, email, users.created_at, plan";

async fn update(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let changes: Changes = http::json(&request)?;
    let (sets_name, name) = changes.name.parts();
    let (sets_email, email) = changes.email.parts();

    let parameters: [&dyn Parameter; 6] = [&caller.user, &caller.session, &sets_name, &name, &sets_email, &email];
    let row = app.database.query_opt(UPDATE, &parameters).await?;
    http::ok(&User::from(&row.ok_or(Error::SessionEnded)?))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, update).await
}

#[cfg(test)]
mod tests {
    //! Tests what is changed, what stays, and for whom.

    use lambda_http::http::StatusCode;
    use serde_json::{Value, json};
    use shared::{
        auth::Caller,
        testing::{self, parts, request},
    };

    use super::*;

    async fn app() -> App {
        App { tokens: TokenVerifier::from_env().unwrap(), database: testing::database().await }
    }

    async fn changed(app: &App, caller: Caller, changes: &Value) -> (Value, Value) {
        let response = update(app, request(caller, &[], changes)).await.unwrap();
        let (status, user) = parts(&response);
        assert_eq!(status, StatusCode::OK, "{user}");
        (user["name"].clone(), user["email"].clone())
    }

    #[tokio::test]
    async fn what_is_left_out_stays_and_null_removes() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        let other = testing::user(&app.database).await;
        let both = json!({ "name": "Ada", "email": "ada@example.com" });
        let (ada, address) = (json!("Ada"), json!("ada@example.com"));
        for (changes, expected) in [
            (both, (ada.clone(), address.clone())),
            (json!({}), (ada, address.clone())),
            (json!({ "name": "Grace" }), (json!("Grace"), address)),
            (json!({ "email": null }), (json!("Grace"), json!(null))),
            (json!({ "name": null }), (json!(null), json!(null))),
        ] {
            assert_eq!(changed(&app, caller, &changes).await, expected, "{changes}");
        }
        assert_eq!(changed(&app, other, &json!({})).await, (json!(null), json!(null)));
    }

    #[tokio::test]
    async fn an_ended_session_changes_nothing() {
        for end in ["delete from sessions", "update users set generation = generation + 1", "delete from users"] {
            let app = app().await;
            let caller = testing::user(&app.database).await;
            app.database.query(end, &[]).await.unwrap();
            let refused = update(&app, request(caller, &[], &json!({ "name": "Mallory" }))).await;
            assert!(matches!(refused, Err(Error::SessionEnded)), "{refused:?}");
            let sql = "select count(*) from users where name is not null";
            let named: i64 = app.database.query_one(sql, &[]).await.unwrap().get(0);
            assert_eq!(named, 0);
        }
    }
}
