//! `POST /subscribe/pro`: makes a page of Stripe's on which the caller can buy Pro.
//!
//! A user has one customer at Stripe, and at most one open page: two calls at once get the same one. A caller with a
//! subscription gets the portal instead. Each call asks Stripe whether there is one, because selling twice is worse
//! than asking twice.
//!
//! There are several statements, since each stands between two requests to Stripe: the customer is stored before a page
//! is made for it, and the next call continues one that broke off.

use lambda_http::{Body, Request, Response};
use serde::Serialize;
use shared::{
    Error, Result,
    auth::TokenVerifier,
    billing::{self, CheckoutSession, CustomerId, Observation, Offer, Payments, ProPrices, Subscription},
    config::ConfigError,
    database::Database,
    domain::UserId,
    http,
    state::{Limit, StateStore},
    telemetry::Chain,
};
use tracing::warn;

/// Limits how often a call starts over because others changed the user's checkout.
const ROUNDS: usize = 5;

struct App {
    tokens: TokenVerifier,
    database: Database,
    state: StateStore,
    limit: Limit,
    payments: Payments,
    prices: ProPrices,
    offer: Offer,
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
            prices: ProPrices::from_env()?,
            offer: Offer::from_env()?,
            return_url: billing::return_url()?,
        })
    }
}

#[derive(Serialize)]
struct Page {
    session_id: String,
    url: String,
}

impl Page {
    fn open(session: CheckoutSession) -> Option<Self> {
        Some(Self { session_id: session.id, url: session.url? })
    }
}

/// The progress of a user's checkout.
struct Progress {
    user: UserId,
    attempt: i32,
    customer: Option<CustomerId>,
    page: Option<String>,
    observation: i64,
}

async fn subscribe(app: &App, request: Request) -> Result<Response<Body>> {
    let caller = app.tokens.authenticate(&request)?;
    let key = format!("checkouts:{}", caller.user);
    app.state.count(&key, &app.limit).await?;
    for _ in 0..ROUNDS {
        let progress = app.progress(caller.user).await?;
        let Some(customer) = &progress.customer else {
            app.make_customer(&progress).await?;
            continue;
        };
        // The page first: when it was paid by then, the subscription is there after it.
        let page = app.page(&progress).await?;
        let subscription = app.observe(customer.clone(), progress.observation).await?;
        let is_open = page.as_ref().is_some_and(|page| page.url.is_some());
        // One whose first payment failed goes on where it began, while that page is open.
        if subscription.is_some_and(|it| !(it.has_ended() || it.is_incomplete() && is_open)) {
            let portal_url = app.payments.portal(customer, &app.return_url).await?;
            return Err(Error::AlreadySubscribed { portal_url });
        }
        let page = match page {
            Some(page) => app.open_or_begin_next(&progress, page).await?,
            None => app.make_page(&progress, customer).await?,
        };
        if let Some(page) = page {
            return http::ok(&page);
        }
    }
    Err(Error::unavailable("the checkout changed too often"))
}

/// Begins a user's first attempt, or reads its progress, unless the account is just being removed. Takes a number for
/// the observation that follows.
const PROGRESS: &str = "
    insert into subscriptions as mine (user_id, observations)
    select id, 1 from users where id = $1 for key share
    on conflict (user_id) do update set observations = mine.observations + 1
    returning checkout_attempt, stripe_customer_id, checkout_session_id, observations as observation";

/// Stores a customer, unless another call has stored one.
const KEEP_CUSTOMER: &str = "
    update subscriptions set stripe_customer_id = coalesce(stripe_customer_id, $2)
    where user_id = $1";

/// Stores a page, unless its attempt is over.
const KEEP_PAGE: &str = "
    update subscriptions set checkout_session_id = $3, checkout_at = now()
    where user_id = $1 and checkout_attempt = $2
    returning user_id";

/// Begins the next attempt, once, however many calls notice at the same time that the last one is over. None does while
/// there is a page that it has not seen, because that page may be open.
const BEGIN_NEXT: &str = "
    update subscriptions set checkout_attempt = checkout_attempt + 1, checkout_session_id = null
    where user_id = $1 and checkout_attempt = $2 and checkout_session_id is not distinct from $3";

impl App {
    async fn progress(&self, user: UserId) -> Result<Progress> {
        let row = self.database.query_opt(PROGRESS, &[&user]).await?;
        let row = row.ok_or(Error::AccountGone)?;
        Ok(Progress {
            user,
            attempt: row.get("checkout_attempt"),
            customer: row.get::<_, Option<String>>("stripe_customer_id").map(CustomerId),
            page: row.get("checkout_session_id"),
            observation: row.get("observation"),
        })
    }

    async fn make_customer(&self, progress: &Progress) -> Result<()> {
        let Progress { user, attempt, .. } = progress;
        let made = self.payments.create_customer(*user, *attempt).await;
        if let Some(customer) = self.made_or_begin_next(progress, made).await? {
            self.database.query(KEEP_CUSTOMER, &[user, &customer.0]).await?;
        }
        Ok(())
    }

    async fn make_page(&self, progress: &Progress, customer: &CustomerId) -> Result<Option<Page>> {
        let Progress { user, attempt, .. } = progress;
        let made = self.payments.create_checkout(&self.offer, *user, customer, *attempt).await;
        let Some(session) = self.made_or_begin_next(progress, made).await? else {
            return Ok(None);
        };
        let kept = self.database.query_opt(KEEP_PAGE, &[user, attempt, &session.id]).await?;
        Ok(kept.and_then(|_| Page::open(session)))
    }

    /// Returns the page that was made before, open or not.
    async fn page(&self, progress: &Progress) -> Result<Option<CheckoutSession>> {
        Ok(match &progress.page {
            Some(id) => Some(self.payments.checkout(id).await?),
            None => None,
        })
    }

    /// Asks Stripe for the subscription and stores the observation.
    async fn observe(&self, customer: CustomerId, number: i64) -> Result<Option<Subscription>> {
        let observation = Observation { customer, number, event: None };
        billing::refresh(&self.database, &self.payments, &self.prices, &observation).await
    }

    /// Returns the page if somebody can pay on it. One that was paid, or that expired, ends the attempt.
    async fn open_or_begin_next(&self, progress: &Progress, session: CheckoutSession) -> Result<Option<Page>> {
        let page = Page::open(session);
        if page.is_none() {
            self.begin_next(progress).await?;
        }
        Ok(page)
    }

    /// Returns the object that was made, or ends the attempt when Stripe can make nothing more for it.
    async fn made_or_begin_next<T>(&self, progress: &Progress, made: Result<T, billing::Error>) -> Result<Option<T>> {
        match (made, &progress.customer) {
            (Ok(made), _) => return Ok(Some(made)),
            (Err(error @ billing::Error::KeySpent(_)), _) => {
                warn!(error = %Chain(&error), attempt = progress.attempt, "a checkout is begun again");
                self.begin_next(progress).await?;
            }
            (Err(billing::Error::CustomerGone), Some(customer)) => {
                billing::forget_customer(&self.database, customer, None).await?;
            }
            (Err(error), _) => return Err(error.into()),
        }
        Ok(None)
    }

    async fn begin_next(&self, progress: &Progress) -> Result<()> {
        self.database.query(BEGIN_NEXT, &[&progress.user, &progress.attempt, &progress.page]).await?;
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, subscribe).await
}
