//! `GET /subscription/status`: returns the caller's plan, its last observation, and today's use.

use lambda_http::{Body, Request, Response};
use serde::Serialize;
use shared::{
    Error, Result,
    auth::TokenVerifier,
    config::ConfigError,
    database::Database,
    domain::{DailyLimits, Plan, timestamp},
    http,
};
use time::OffsetDateTime;

struct App {
    tokens: TokenVerifier,
    database: Database,
    limits: DailyLimits,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            tokens: TokenVerifier::from_env()?,
            database: Database::from_env()?,
            limits: DailyLimits::from_env()?,
        })
    }
}

#[derive(Serialize)]
struct Subscription {
    plan: Plan,
    /// Stripe's status; none when there never was a subscription.
    status: Option<String>,
    #[serde(with = "timestamp::microseconds::option")]
    current_period_end: Option<OffsetDateTime>,
    cancel_at_period_end: bool,
    usage: Usage,
}

#[derive(Serialize)]
struct Usage {
    /// Messages that count.
    used: i32,
    limit: i32,
    tokens_used: i64,
    tokens_limit: i64,
    #[serde(with = "timestamp::microseconds")]
    resets_at: OffsetDateTime,
}

/// Reads the plan and the use of the day by the database's clock, which also counts accepted messages. What deleted
/// accounts of the same number did today counts too.
const STATUS: &str = "
    select plans.plan, status, current_period_end, coalesce(cancel_at_period_end, false) as cancel_at_period_end,
           coalesce(usage.used, 0) + coalesce(departed.used, 0) as used,
           coalesce(usage.tokens, 0) + coalesce(departed.tokens, 0) as tokens_used,
           (today.day + 1)::timestamp at time zone 'utc' as resets_at
    from plans
    cross join (select (now() at time zone 'utc')::date as day) today
    left join subscriptions on subscriptions.user_id = plans.user_id
    left join daily_usage usage on usage.user_id = plans.user_id and usage.day = today.day
    left join users on users.id = plans.user_id
    left join departed_usage departed on departed.number_hash = users.number_hash and departed.day = today.day
    where plans.user_id = $1";

async fn status(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let row = app.database.query_opt(STATUS, &[&caller.user]).await?;
    let row = row.ok_or(Error::AccountGone)?;
    let plan = row.get("plan");
    http::ok(&Subscription {
        plan,
        status: row.get("status"),
        current_period_end: row.get("current_period_end"),
        cancel_at_period_end: row.get("cancel_at_period_end"),
        usage: Usage {
            used: row.get("used"),
            limit: app.limits.messages.of(plan),
            tokens_used: row.get("tokens_used"),
            tokens_limit: app.limits.tokens.of(plan),
            resets_at: row.get("resets_at"),
        },
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, status).await
}
