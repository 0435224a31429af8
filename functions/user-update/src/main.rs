//! `PATCH /user/me`: changes the caller's name, e-mail address or both.
//!
//! What is left out stays; null removes.
//!
//! Another e-mail address needs a proof of the moment: see [`confirmation`](shared::auth::confirmation). For that the
//! account is read first, so such a change takes two statements.

use lambda_http::{Body, Request, Response};
use serde::{Deserialize, Deserializer};
use shared::{
    Error, Result,
    auth::{
        Caller, Confirmation, Confirmer, TokenVerifier, TypedPassword,
        codes::{Challenge, Guess},
    },
    config::ConfigError,
    database::{Database, Parameter},
    domain::{Email, Name, User},
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
struct Changes {
    #[serde(default)]
    name: Change<Name>,
    #[serde(default)]
    email: Change<Email>,
    password: Option<TypedPassword>,
    challenge: Option<Challenge>,
    otp: Option<Guess>,
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

/// Reads what a proof is compared with, for a session that lasts.
const ACCOUNT: &str = "
    -- $1 user, $2 session
    select mobile, password_hash
    from users join sessions
        on sessions.user_id = users.id and sessions.id = $2 and sessions.generation = users.generation
    where users.id = $1 and sessions.user_id = $1";

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
    let Changes { name, email, password, challenge, otp } = http::json(&request)?;
    let confirmation = Confirmation::of(password, challenge, otp);
    let (sets_name, name) = name.parts();
    let (sets_email, email) = email.parts();
    if sets_email {
        app.confirm(caller, confirmation, &request).await?;
    }

    let parameters: [&dyn Parameter; 6] = [&caller.user, &caller.session, &sets_name, &name, &sets_email, &email];
    let row = app.database.query_opt(UPDATE, &parameters).await?;
    http::ok(&User::from(&row.ok_or(Error::SessionEnded)?))
}

impl App {
    /// Checks that the owner is there. Without an account, or a session that lasts, there is nothing to compare with.
    async fn confirm(&self, caller: Caller, confirmation: Option<Confirmation>, request: &Request) -> Result<()> {
        let row = self.database.query_opt(ACCOUNT, &[&caller.user, &caller.session]).await?;
        let row = row.ok_or(Error::SessionEnded)?;
        let stored: Option<&str> = row.get("password_hash");
        self.confirmer.check(confirmation, &row.get("mobile"), stored, request).await
    }
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
    use shared::testing::{self, parts, request};

    use super::*;

    async fn app() -> App {
        App {
            tokens: TokenVerifier::from_env().unwrap(),
            database: testing::database().await,
            confirmer: Confirmer::from_env().unwrap(),
        }
    }

    /// Makes changes with a proof of the moment, and returns the name and the address.
    async fn changed(app: &App, caller: Caller, changes: &Value) -> (Value, Value) {
        let mut body = testing::confirmation(&app.database, caller).await;
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let response = update(app, request(caller, &[], &body)).await.unwrap();
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
    async fn another_address_needs_a_proof_of_the_moment_and_a_name_needs_none() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        for email in [json!("mallory@example.com"), json!(null)] {
            let refused = update(&app, request(caller, &[], &json!({ "name": "Ada", "email": email }))).await;
            assert!(matches!(refused, Err(Error::SignInAgain)), "{refused:?}");
            let wrong = json!({ "email": email, "password": "staple battery horse" });
            let refused = update(&app, request(caller, &[], &wrong)).await;
            assert!(matches!(refused, Err(Error::WrongPassword)), "{refused:?}");
        }
        let response = update(&app, request(caller, &[], &json!({ "name": "Ada" }))).await.unwrap();
        let (_, user) = parts(&response);
        assert_eq!((&user["name"], &user["email"]), (&json!("Ada"), &json!(null)));
    }

    #[tokio::test]
    async fn half_a_proof_is_none() {
        let app = app().await;
        let caller = testing::user(&app.database).await;
        let whole = testing::confirmation(&app.database, caller).await;
        for half in ["otp", "challenge"] {
            let body = json!({ "email": "ada@example.com", half: whole[half] });
            let refused = update(&app, request(caller, &[], &body)).await;
            assert!(matches!(refused, Err(Error::SignInAgain)), "{body}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn an_ended_session_changes_nothing() {
        for end in ["delete from sessions", "update users set generation = generation + 1", "delete from users"] {
            let app = app().await;
            let caller = testing::user(&app.database).await;
            app.database.query(end, &[]).await.unwrap();
            for change in [json!({ "name": "Mallory" }), json!({ "email": "mallory@example.com" })] {
                let refused = update(&app, request(caller, &[], &change)).await;
                assert!(matches!(refused, Err(Error::SessionEnded)), "{refused:?}");
            }
            let sql = "select count(*) from users where name is not null or email is not null";
            let named: i64 = app.database.query_one(sql, &[]).await.unwrap().get(0);
            assert_eq!(named, 0);
        }
    }
}
