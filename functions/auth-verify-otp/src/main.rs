//! `POST /auth/verify-otp`: signs in whoever has the code.
//!
//! The code is taken before the session is stored. If the storing fails, the user asks for another code: better than
//! a code that works twice.

use garde::Validate;
use lambda_http::{Body, Request, Response};
use serde::Deserialize;
use shared::{
    Error, Result,
    auth::{
        Caller, Codes, TokenIssuer,
        codes::Purpose,
        sessions::{REFRESH_LIFETIME, RefreshToken, TokenPair},
    },
    config::ConfigError,
    database::{Database, Type},
    domain::{Mobile, SessionId, User},
    http,
};

struct App {
    codes: Codes,
    database: Database,
    tokens: TokenIssuer,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            codes: Codes::from_env()?,
            database: Database::from_env()?,
            tokens: TokenIssuer::from_env()?,
        })
    }
}

#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct Guess {
    #[garde(skip)]
    mobile: Mobile,
    #[garde(custom(six_digits))]
    otp: String,
}

fn six_digits(otp: &str, (): &()) -> garde::Result {
    if otp.len() == 6 && otp.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(())
    } else {
        Err(garde::Error::new("must be the six digits that were sent"))
    }
}

/// Verifies the number and stores the session with its first refresh token. Without an account there is no row.
const SIGN_IN: &str = "
    with verified as (
        update users
        set verified_at = coalesce(verified_at, now())
        where mobile = $1
        returning id, mobile, name, email, created_at
    ), session as (
        insert into sessions (id, user_id)
        select $2, id from verified
        on conflict (id) do nothing
    ), refresh as (
        insert into refresh_tokens (hash, session_id, expires_at)
        select $3, $2, now() + make_interval(secs => $4) from verified
        on conflict (hash) do nothing
    )
    select verified.*, plans.plan
    from verified join plans on plans.user_id = verified.id";

async fn verify(app: &App, request: Request) -> Result<Response<Body>> {
    let guess: Guess = http::json(&request)?;
    app.codes
        .take(Purpose::SignIn, &guess.mobile, &guess.otp)
        .await?;

    let session = SessionId::new();
    let refresh = RefreshToken::new()?;
    let row = app
        .database
        .query_opt(
            SIGN_IN,
            &[
                (&guess.mobile.as_str(), Type::TEXT),
                (&session, Type::UUID),
                (&refresh.hash(), Type::BYTEA),
                (&REFRESH_LIFETIME.as_secs_f64(), Type::FLOAT8),
            ],
        )
        .await?;
    let user = User::from(&row.ok_or(Error::WrongCode)?);
    let caller = Caller {
        user: user.id,
        session,
    };
    http::ok(&TokenPair::new(&app.tokens, caller, refresh, Some(user))?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, verify).await
}
