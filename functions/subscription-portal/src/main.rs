//! `POST /subscription/portal`: makes a page of Stripe's on which the caller can change, cancel or resume a
//! subscription.

use lambda_http::{Body, Request, Response};
use serde_json::json;
use shared::{
    Error, Result,
    auth::TokenVerifier,
    billing::{self, CustomerId, Payments},
    config::ConfigError,
    database::Database,
    http,
    state::{Limit, StateStore},
};

struct App {
    tokens: TokenVerifier,
    database: Database,
    state: StateStore,
    limit: Limit,
    payments: Payments,
    return_url: String,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            tokens: TokenVerifier::from_env()?,
            database: Database::from_env()?,
            state: StateStore::from_env()?,
            limit: billing::page_limit()?,
            payments: Payments::from_env()?,
            return_url: billing::return_url()?,
        })
    }
}

const CUSTOMER: &str = "
    select stripe_customer_id from subscriptions
    where user_id = $1 and stripe_customer_id is not null";

async fn open_portal(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let key = format!("portals:{}", caller.user);
    app.state.count(&key, &app.limit).await?;
    let row = app.database.query_opt(CUSTOMER, &[&caller.user]).await?;
    // A user who never began to subscribe is no customer.
    let row = row.ok_or(Error::NotFound("subscription"))?;
    let customer = CustomerId(row.get("stripe_customer_id"));
    let url = app.payments.portal(&customer, &app.return_url).await?;
    http::ok(&json!({ "url": url }))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, open_portal).await
}
