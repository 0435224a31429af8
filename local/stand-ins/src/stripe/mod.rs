//! Stands in for Stripe: customers, a price, checkout and portal with their pages, subscriptions, and signed webhooks.
//! It responds as Stripe does in the version of the API that the functions speak, errors and idempotency keys included;
//! a call that it does not know is a 404 that says so.
//!
//! Its controls, which the real one does not have:
//!
//! | control | does |
//! | --- | --- |
//! | `GET /checkout/{session}` | the payment page, with a button |
//! | `POST /_pay/{session}` | what the button does |
//! | `GET /portal/{session}` | the portal, with buttons to cancel and resume |
//! | `POST /_subscriptions/{id}` | changes status, period or end; see [`subscriptions::Change`] |
//! | `GET /_events` | the events and what was answered to their deliveries |
//! | `POST /_events/{id}/send` | delivers an event again |
//! | `POST /_hold` | holds deliveries back |
//! | `POST /_release` | lets them go, all or those of `{"order": [ids]}` |
//! | `GET`, `DELETE /_calls` | the calls of the API |
//! | `POST`, `DELETE /_script` | delays and failures of coming calls; see [`script::Outcome`] |

mod account;
mod api;
mod checkout;
mod controls;
mod customers;
mod deliveries;
mod failure;
mod idempotency;
mod invoices;
mod pages;
mod parameters;
pub mod script;
pub mod subscriptions;

use std::{
    collections::BTreeMap,
    env,
    sync::{Arc, Mutex},
};

use anyhow::Result;
use axum::{
    Json, Router,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use reqwest::Client;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::JoinSet,
};

use account::Account;
use deliveries::{Deliveries, deliver_all};
use idempotency::Keys;
use script::Script;

pub use deliveries::signature;

/// The address that Stripe's pages lead back to unless the environment names one: a page of the stand-in.
pub const RETURN_URL: &str = "http://127.0.0.1:9002/returned";

/// A port taken for a stand-in that does not serve yet: its address is one of the settings that it depends on.
pub struct Reserved {
    /// `STRIPE_URL`.
    pub url: String,
    listener: TcpListener,
}

/// A running stand-in. It ends when it is dropped.
pub struct Stripe {
    /// `STRIPE_URL`.
    pub url: String,
    _tasks: JoinSet<()>,
}

/// The account, its idempotency keys and script, and the webhook.
struct Server {
    account: Mutex<Account>,
    keys: Mutex<Keys>,
    script: Mutex<Script>,
    deliveries: Deliveries,
}

impl Reserved {
    /// Takes the port of a listener, which must not block.
    pub fn at(listener: std::net::TcpListener) -> Result<Self> {
        let listener = TcpListener::from_std(listener)?;
        Ok(Self { url: format!("http://{}", listener.local_addr()?), listener })
    }

    /// Returns the functions' variables that follow from the port. Addresses to lead back to that the environment names
    /// stay as they are.
    pub fn variables(&self) -> impl Iterator<Item = (String, String)> {
        let named = |name: &str| env::var(name).is_ok_and(|url| url != RETURN_URL);
        let returns = ["CHECKOUT_SUCCESS_URL", "CHECKOUT_CANCEL_URL"].into_iter();
        let returns = returns.filter(move |name| !named(name)).map(|name| (name, "/returned"));
        let all = returns.chain([("STRIPE_URL", "")]);
        all.map(|(name, path)| (name.to_owned(), format!("{}{path}", self.url)))
    }

    /// Serves, with an empty account that sells `STRIPE_PRO_PRICE_ID` and tells `webhook` what happens, signed with
    /// `STRIPE_WEBHOOK_SECRET`. `client` reaches the webhook.
    pub fn serve(self, webhook: String, variables: &BTreeMap<String, String>, client: Client) -> Stripe {
        let (give, new_events) = unbounded_channel();
        let price = &variables["STRIPE_PRO_PRICE_ID"];
        let server = Arc::new(Server {
            account: Mutex::new(Account::new(self.url.clone(), price, give)),
            keys: Mutex::default(),
            script: Mutex::default(),
            deliveries: Deliveries::new(webhook, &variables["STRIPE_WEBHOOK_SECRET"], client),
        });
        Stripe { url: self.url, _tasks: tasks(self.listener, server, new_events) }
    }
}

fn tasks(listener: TcpListener, server: Arc<Server>, new_events: UnboundedReceiver<String>) -> JoinSet<()> {
    let routes = routes(server.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let _ = axum::serve(listener, routes).await; // serves until it is aborted
    });
    tasks.spawn(deliver_all(server, new_events));
    tasks
}

fn routes(server: Arc<Server>) -> Router {
    Router::new()
        .route("/checkout/{session}", get(pages::checkout))
        .route("/portal/{session}", get(pages::portal))
        .route("/portal/{session}/{subscription}/{verb}", post(pages::press))
        .route("/returned", get(pages::returned))
        .route("/_pay/{session}", post(pages::pay))
        .route("/_subscriptions/{id}", post(controls::change_subscription))
        .route("/_events", get(controls::events))
        .route("/_events/{id}/send", post(controls::send_event))
        .route("/_hold", post(controls::hold))
        .route("/_release", post(controls::release))
        .route("/_calls", get(controls::calls).delete(controls::forget_calls))
        .route("/_script", post(controls::extend_script).delete(controls::forget_script))
        .fallback(any(api::call))
        .with_state(server)
}

fn respond(status: u16, body: Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(body)).into_response()
}
