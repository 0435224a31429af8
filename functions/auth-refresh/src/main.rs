//! `POST /auth/refresh`: a new pair of tokens for a refresh token, which is spent by that.
//!
//! Whoever uses a spent token, be it the thief or the owner, ends the session for both (RFC 9700, 4.14.2). For thirty
//! seconds a spent token still works, so that two tabs may refresh at once.

use std::time::Duration;

use garde::Validate;
use lambda_http::{Body, Request, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use shared::{
    Error, Result,
    auth::{
        Caller, TokenIssuer,
        sessions::{self, REFRESH_LIFETIME, RefreshToken, TokenPair},
    },
    config::ConfigError,
    database::Database,
    http,
};

const GRACE: Duration = Duration::from_secs(30);

struct App {
    database: Database,
    tokens: TokenIssuer,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            database: Database::from_env()?,
            tokens: TokenIssuer::from_env()?,
        })
    }
}

#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct Refresh {
    #[garde(skip)]
    refresh_token: SecretString,
}

/// Locking the token first makes parallel refreshes take turns: the first spends it, the others come within the grace.
const ROTATE: &str = "
    with token as (
        select token.hash, token.session_id, session.user_id,
               token.spent_at is null or token.spent_at > now() - make_interval(secs => $3) as usable
        from refresh_tokens token join sessions session on session.id = token.session_id
        where token.hash = $1 and token.expires_at > now()
        for update of token for key share of session
    ), spent as (
        update refresh_tokens
        set spent_at = coalesce(spent_at, now())
        from token
        where refresh_tokens.hash = token.hash and token.usable
    ), next as (
        insert into refresh_tokens (hash, session_id, expires_at)
        select $2, session_id, now() + make_interval(secs => $4) from token where usable
        on conflict (hash) do nothing
    ), ended as (
        delete from sessions using token where sessions.id = token.session_id and not token.usable
    )
    select session_id, user_id, usable from token";

async fn refresh(app: &App, request: Request) -> Result<Response<Body>> {
    let refresh: Refresh = http::json(&request)?;
    let next = RefreshToken::new()?;
    let row = app
        .database
        .query_opt(
            ROTATE,
            &[
                &sessions::hash(refresh.refresh_token.expose_secret()),
                &next.hash(),
                &GRACE.as_secs_f64(),
                &REFRESH_LIFETIME.as_secs_f64(),
            ],
        )
        .await?;
    let row = row.filter(|row| row.get("usable"));
    let row = row.ok_or(Error::Unauthenticated(
        "The refresh token is not valid, or no longer.",
    ))?;
    let caller = Caller {
        user: row.get("user_id"),
        session: row.get("session_id"),
    };
    http::ok(&TokenPair::new(&app.tokens, caller, next, None)?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, refresh).await
}

#[cfg(test)]
mod tests {
    //! Rotation, reuse, and the grace between them. Time is moved in the table.

    use futures_util::future::join_all;
    use serde_json::json;
    use shared::{
        auth::sessions::hash,
        testing::{self, parts, request},
    };

    use super::*;

    async fn app() -> App {
        App {
            database: testing::database().await,
            tokens: TokenIssuer::from_env().unwrap(),
        }
    }

    /// Signs somebody in and returns the refresh token.
    async fn sign_in(app: &App) -> (Caller, String) {
        let caller = testing::user(&app.database).await;
        let token = format!("token of {}", caller.session);
        let sql = "insert into refresh_tokens (hash, session_id, expires_at) values ($1, $2, now() + interval '1 day')";
        app.database
            .query(sql, &[&hash(&token), &caller.session])
            .await
            .unwrap();
        (caller, token)
    }

    async fn use_token(app: &App, caller: Caller, token: &str) -> Result<String> {
        let request = request(caller, &[], &json!({ "refresh_token": token }));
        let pair = parts(&refresh(app, request).await?).1;
        Ok(pair["refresh_token"].as_str().unwrap().to_owned())
    }

    async fn sessions(app: &App) -> i64 {
        let row = app
            .database
            .query_one("select count(*) from sessions", &[])
            .await;
        row.unwrap().get(0)
    }

    fn refused(outcome: &Result<String>) -> bool {
        matches!(outcome, Err(Error::Unauthenticated(_)))
    }

    #[tokio::test]
    async fn a_chain_of_refreshes_keeps_the_session() {
        let app = app().await;
        let (caller, mut token) = sign_in(&app).await;
        for _ in 0..5 {
            let next = use_token(&app, caller, &token).await.unwrap();
            assert_ne!(next, token);
            token = next;
        }
        assert_eq!(sessions(&app).await, 1);
    }

    #[tokio::test]
    async fn a_token_spent_long_ago_ends_the_session_for_both_holders() {
        let app = app().await;
        let (caller, stolen) = sign_in(&app).await;
        let current = use_token(&app, caller, &stolen).await.unwrap();
        let later = "update refresh_tokens set spent_at = spent_at - interval '31 seconds'";
        app.database.query(later, &[]).await.unwrap();

        assert!(refused(&use_token(&app, caller, &stolen).await));
        assert!(refused(&use_token(&app, caller, &current).await));
        assert_eq!(sessions(&app).await, 0);
    }

    #[tokio::test]
    async fn a_hundred_parallel_refreshes_leave_one_session_and_nobody_locked_out() {
        let app = app().await;
        let (caller, token) = sign_in(&app).await;
        let tabs: Vec<App> = (0..100)
            .map(|_| App {
                database: app.database.another_connection(),
                tokens: TokenIssuer::from_env().unwrap(),
            })
            .collect();
        let pairs = join_all(tabs.iter().map(|tab| use_token(tab, caller, &token))).await;
        assert_eq!(sessions(&app).await, 1);
        for token in pairs {
            use_token(&app, caller, &token.unwrap()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn expired_and_unknown_tokens_are_refused_and_end_nothing() {
        let app = app().await;
        let (caller, token) = sign_in(&app).await;
        assert!(refused(&use_token(&app, caller, "unknown").await));
        let expire = "update refresh_tokens set expires_at = now()";
        app.database.query(expire, &[]).await.unwrap();
        assert!(refused(&use_token(&app, caller, &token).await));
        assert_eq!(sessions(&app).await, 1);
    }
}
