//! `POST /auth/refresh`: exchanges a refresh token, which is spent by that, for a new pair of tokens.
//!
//! Whoever uses a spent token, be it the thief or the owner, ends the session for both (RFC 9700, 4.14.2). For thirty
//! seconds a spent token still works, so that some tabs may refresh at once; it gives three successors at most. However
//! often it is refreshed, a session ends after 180 days.
//!
//! The limit on refreshes is kept in the session's row, and nobody else fills it. Tokens that are refused count for the
//! address that they come from, in the state store: a client in a loop is told to wait, and nobody else at its address
//! is. Whoever has a good token needs no state store.

use std::time::Duration;

use lambda_http::{Body, Request, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use shared::{
    Error, Result,
    auth::{
        Attempts, Caller, TokenIssuer,
        sessions::{REFRESH_LIFETIME, RefreshToken, SESSION_LIFETIME, TokenPair},
    },
    config::{self, ConfigError},
    database::{Database, Parameter},
    error::OverLimit,
    http,
    state::Limit,
    telemetry::Chain,
};
use tracing::warn;

const GRACE: Duration = Duration::from_secs(30);

/// Limits the tokens that are given for one, all within the grace.
const SUCCESSORS: i32 = 3;

/// Limits the refreshes of a session in an hour. A client that uses its tokens to the end needs four.
const REFRESHES_PER_HOUR: u32 = 60;
const HOUR: Duration = Duration::from_hours(1);

/// Limits the refused refreshes of an address.
const REFUSED_PER_ADDRESS: Limit = Limit {
    policy: "refreshes",
    detail: "Too many refresh tokens of this address were refused. Sign in again.",
    times: 300,
    window: HOUR,
};

struct App {
    attempts: Attempts,
    database: Database,
    tokens: TokenIssuer,
    refused_per_address: Limit,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        let times = config::or_default("REFUSED_REFRESHES_PER_ADDRESS_HOUR", REFUSED_PER_ADDRESS.times)?;
        Ok(Self {
            attempts: Attempts::from_env()?,
            database: Database::from_env()?,
            tokens: TokenIssuer::from_env()?,
            refused_per_address: Limit { times, ..REFUSED_PER_ADDRESS },
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refresh {
    refresh_token: SecretString,
}

/// Spends a token for the next one. Locking the session first makes its refreshes take turns: the first spends a token,
/// the others come within the grace. The token is locked too, so that what an earlier turn wrote is read. The refreshes
/// are counted from the first of an hour on.
const ROTATE: &str = "
    -- $1 user, $2 token, $3 next token, $4 grace, $5 lifetime, $6 lifetime of a session, $7 successors, $8 an hour's
    -- refreshes
    with session as (
        select session.user_id, session.id, session.created_at + make_interval(secs => $6) as ends_at,
               session.refreshes, session.refreshes_since + interval '1 hour' as window_end
        from refresh_tokens token
        join sessions session on session.user_id = token.user_id and session.id = token.session_id
        join users owner on owner.id = session.user_id and owner.generation = session.generation
        where token.user_id = $1 and token.hash = $2 and token.expires_at > now()
          and session.created_at + make_interval(secs => $6) > now()
        for update of session
    ), token as (
        select token.hash, token.session_id, session.ends_at, session.window_end,
               case when token.spent_at <= now() - make_interval(secs => $4) then 'reused'
                    when token.successors >= $7 then 'forked'
                    when session.refreshes >= $8 and session.window_end > now() then 'limited'
                    else 'usable' end as verdict
        from session join refresh_tokens token on token.session_id = session.id
        where token.user_id = $1 and token.hash = $2
        for update of token
    ), spent as (
        update refresh_tokens
        set spent_at = coalesce(spent_at, now()), successors = successors + 1
        from token
        where refresh_tokens.user_id = $1 and refresh_tokens.hash = $2 and token.verdict = 'usable'
    ), next as (
        insert into refresh_tokens (user_id, hash, session_id, expires_at)
        select $1, $3, session_id, least(now() + make_interval(secs => $5), ends_at)
        from token where verdict = 'usable'
        on conflict (user_id, hash) do nothing
    ), counted as (
        update sessions
        set last_used_at = date_trunc('hour', now(), 'utc'),
            refreshes = case when token.window_end > now() then refreshes + 1 else 1 end,
            refreshes_since = case when token.window_end > now() then refreshes_since else now() end
        from token
        where sessions.user_id = $1 and sessions.id = token.session_id and token.verdict = 'usable'
    ), ended as (
        delete from sessions using token
        where sessions.user_id = $1 and sessions.id = token.session_id and token.verdict = 'reused'
    )
    select session_id, verdict, extract(epoch from window_end - now())::float8 as retry_after from token";

async fn refresh(app: &App, request: Request) -> Result<Response<Body>> {
    let refresh: Refresh = http::json(&request)?;
    let next = RefreshToken::new()?;
    let caller = match app.rotate(refresh.refresh_token.expose_secret(), &next).await {
        Err(Error::Unauthenticated(refused)) => return app.refuse(refused, &request).await,
        caller => caller?,
    };
    http::ok(&TokenPair::new(&app.tokens, caller, &next, None)?)
}

impl App {
    /// Spends the token that a client sent for `next`.
    async fn rotate(&self, text: &str, next: &RefreshToken) -> Result<Caller> {
        const REFUSED: Error = Error::Unauthenticated("The refresh token is not valid, or no longer.");

        let (user, token) = RefreshToken::parse(text).ok_or(REFUSED)?;
        let limit = i32::try_from(REFRESHES_PER_HOUR).map_err(Error::internal)?;
        let parameters: [&dyn Parameter; 8] = [
            &user,
            &token.hash(),
            &next.hash(),
            &GRACE.as_secs_f64(),
            &REFRESH_LIFETIME.as_secs_f64(),
            &SESSION_LIFETIME.as_secs_f64(),
            &SUCCESSORS,
            &limit,
        ];
        let row = self.database.query_opt(ROTATE, &parameters).await?;
        let row = row.ok_or(REFUSED)?;
        match row.get("verdict") {
            "usable" => Ok(Caller { user, session: row.get("session_id") }),
            "limited" => Err(Error::OverLimit(OverLimit {
                policy: "refreshes",
                detail: "This session was refreshed too often.",
                limit: REFRESHES_PER_HOUR,
                window: HOUR,
                retry_after: Duration::try_from_secs_f64(row.get("retry_after")).unwrap_or(HOUR),
            })),
            _ => Err(REFUSED),
        }
    }

    /// Counts a refused token. Without the state store it is refused all the same.
    async fn refuse(&self, refused: &'static str, request: &Request) -> Result<Response<Body>> {
        let address = self.attempts.address(request);
        match self.attempts.count(&[(&self.refused_per_address, &["refused", &address])]).await {
            Err(error @ Error::OverLimit(_)) => return Err(error),
            Err(error) => warn!(error = %Chain(&error), "a refused refresh is not counted"),
            Ok(()) => {}
        }
        Err(Error::Unauthenticated(refused))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, refresh).await
}

#[cfg(test)]
mod tests {
    //! Tests rotation, reuse, and the grace between them. Time is moved in the table.

    use futures_util::future::join_all;
    use serde_json::json;
    use shared::testing::{self, parts, request};

    use super::*;

    async fn app() -> App {
        App { database: testing::database().await, ..App::from_env().unwrap() }
    }

    /// Signs somebody in and returns the refresh token.
    async fn sign_in(app: &App) -> (Caller, String) {
        let caller = testing::user(&app.database).await;
        let token = RefreshToken::new().unwrap();
        let sql = "insert into refresh_tokens (user_id, hash, session_id, expires_at)
                   values ($1, $2, $3, now() + interval '1 day')";
        app.database.query(sql, &[&caller.user, &token.hash(), &caller.session]).await.unwrap();
        (caller, token.text(caller.user))
    }

    async fn use_token(app: &App, caller: Caller, token: &str) -> Result<String> {
        let request = request(caller, &[], &json!({ "refresh_token": token }));
        let pair = parts(&refresh(app, request).await?).1;
        Ok(pair["refresh_token"].as_str().unwrap().to_owned())
    }

    /// Uses a token eight times at once, over as many connections, and returns its successors.
    async fn use_in_eight_tabs(app: &App, caller: Caller, token: &str) -> Vec<String> {
        let tabs: Vec<App> =
            (0..8).map(|_| App { database: app.database.another_connection(), ..App::from_env().unwrap() }).collect();
        let pairs = join_all(tabs.iter().map(|tab| use_token(tab, caller, token))).await;
        assert!(pairs.iter().all(|pair| pair.is_ok() || refused(pair)));
        pairs.into_iter().filter_map(Result::ok).collect()
    }

    async fn run(app: &App, sql: &str) {
        app.database.query(sql, &[]).await.unwrap();
    }

    async fn sessions(app: &App) -> i64 {
        let row = app.database.query_one("select count(*) from sessions", &[]).await;
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
        run(&app, "update refresh_tokens set spent_at = spent_at - interval '31 seconds'").await;

        assert!(refused(&use_token(&app, caller, &stolen).await));
        assert!(refused(&use_token(&app, caller, &current).await));
        assert_eq!(sessions(&app).await, 0);
    }

    #[tokio::test]
    async fn of_eight_refreshes_at_once_three_get_a_token_and_nobody_is_signed_out() {
        let app = app().await;
        let (caller, token) = sign_in(&app).await;
        let siblings = use_in_eight_tabs(&app, caller, &token).await;
        assert_eq!(siblings.len(), 3);
        assert_eq!(sessions(&app).await, 1);
        for token in siblings {
            use_token(&app, caller, &token).await.unwrap();
        }
    }

    #[tokio::test]
    async fn no_chain_of_refreshes_goes_on_for_longer_than_180_days() {
        let app = app().await;
        let (caller, token) = sign_in(&app).await;
        run(&app, "update sessions set created_at = now() - interval '179 days 23 hours'").await;
        let last = use_token(&app, caller, &token).await.unwrap();
        let sql = "select max(expires_at) <= now() + interval '1 day' from refresh_tokens";
        assert!(app.database.query_one(sql, &[]).await.unwrap().get::<_, bool>(0));
        run(&app, "update sessions set created_at = now() - interval '180 days'").await;
        assert!(refused(&use_token(&app, caller, &last).await));
    }

    #[tokio::test]
    async fn sixty_refreshes_an_hour_are_the_limit_of_a_session() {
        let app = app().await;
        let (caller, mut token) = sign_in(&app).await;
        for _ in 0..REFRESHES_PER_HOUR {
            token = use_token(&app, caller, &token).await.unwrap();
        }
        let Err(Error::OverLimit(over)) = use_token(&app, caller, &token).await else {
            panic!("the limit was not held");
        };
        assert!(over.retry_after > HOUR / 2 && over.retry_after <= HOUR, "{over:?}");
        let (other, others) = sign_in(&app).await;
        use_token(&app, other, &others).await.unwrap();
        // What was refused spent nothing.
        run(&app, "update sessions set refreshes_since = now() - interval '1 hour'").await;
        use_token(&app, caller, &token).await.unwrap();
    }

    #[tokio::test]
    async fn a_session_of_an_earlier_generation_is_not_refreshed() {
        let app = app().await;
        let (caller, token) = sign_in(&app).await;
        run(&app, "update users set generation = generation + 1").await;
        assert!(refused(&use_token(&app, caller, &token).await));
    }

    #[tokio::test]
    async fn a_token_works_for_its_own_user_only() {
        let app = app().await;
        let (caller, token) = sign_in(&app).await;
        let (other, _) = sign_in(&app).await;
        let stolen = RefreshToken::parse(&token).unwrap().1.text(other.user);
        assert!(refused(&use_token(&app, other, &stolen).await));
        use_token(&app, caller, &token).await.unwrap();
    }

    #[tokio::test]
    async fn refused_tokens_of_an_address_are_limited_and_good_ones_of_it_are_not() {
        let app = App { refused_per_address: Limit { times: 3, ..REFUSED_PER_ADDRESS }, ..app().await };
        let (caller, mut token) = sign_in(&app).await;
        let (there, elsewhere) = (testing::new_address(), testing::new_address());
        let from = |address: &str, token: &str| {
            let request = request(caller, &[], &json!({ "refresh_token": token }));
            testing::sent_from(address, request)
        };
        for _ in 0..3 {
            let refused = refresh(&app, from(&there, "unknown")).await;
            assert!(matches!(refused, Err(Error::Unauthenticated(_))), "{refused:?}");
        }
        let unknown = RefreshToken::new().unwrap().text(caller.user);
        for wrong in ["unknown", &unknown] {
            let limited = refresh(&app, from(&there, wrong)).await;
            assert!(matches!(limited, Err(Error::OverLimit(_))), "{limited:?}");
        }
        for _ in 0..5 {
            let pair = parts(&refresh(&app, from(&there, &token)).await.unwrap()).1;
            pair["refresh_token"].as_str().unwrap().clone_into(&mut token);
        }
        let refused = refresh(&app, from(&elsewhere, "unknown")).await;
        assert!(matches!(refused, Err(Error::Unauthenticated(_))), "{refused:?}");
    }

    #[tokio::test]
    async fn a_refresh_is_the_last_use_of_its_session_to_the_hour() {
        let app = app().await;
        let (caller, token) = sign_in(&app).await;
        run(&app, "update sessions set last_used_at = now() - interval '3 days'").await;
        use_token(&app, caller, &token).await.unwrap();
        let sql = "select last_used_at = date_trunc('hour', now(), 'utc') from sessions";
        assert!(app.database.query_one(sql, &[]).await.unwrap().get::<_, bool>(0));
    }

    #[tokio::test]
    async fn expired_and_unknown_tokens_are_refused_and_end_nothing() {
        let app = app().await;
        let (caller, token) = sign_in(&app).await;
        let unknown = RefreshToken::new().unwrap().text(caller.user);
        for wrong in ["unknown", &unknown] {
            assert!(refused(&use_token(&app, caller, wrong).await));
        }
        run(&app, "update refresh_tokens set expires_at = now()").await;
        assert!(refused(&use_token(&app, caller, &token).await));
        assert_eq!(sessions(&app).await, 1);
    }
}
