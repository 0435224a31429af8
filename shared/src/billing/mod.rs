//! Sells Pro through Stripe. A user's plan follows from the subscription as Stripe returns it now.
//!
//! [`Payments`] asks Stripe, [`refresh`] stores the response, and a webhook, verified by its
//! [signature](SigningSecrets), tells when to ask. A Stripe event is a hint, not a fact: nothing of its content is
//! stored as ours.

mod signature;
mod stripe;
mod subscriptions;

use std::time::Duration;

use time::OffsetDateTime;

use crate::{
    config::{self, ConfigError},
    error::Source,
    state::Limit,
};

pub use signature::{Forged, SigningSecrets};
pub use stripe::Payments;
pub use subscriptions::{Observation, forget_customer, refresh};

/// Names a customer of Stripe's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerId(pub String);

/// A page on which a user can pay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutSession {
    /// Its id.
    pub id: String,
    /// Its address while it is open. Nobody can pay on one that was paid or that expired.
    pub url: Option<String>,
}

/// A subscription as Stripe returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Its id.
    pub id: String,
    /// Stripe's status: `active`, `past_due`, `canceled`. New ones may come.
    pub status: String,
    /// The end of the period that is paid, or was to be paid.
    pub current_period_end: Option<OffsetDateTime>,
    /// Whether it ends with the period instead of being renewed.
    pub cancel_at_period_end: bool,
    /// For a `past_due` one, since when its invoice is waiting to be paid.
    pub past_due_since: Option<OffsetDateTime>,
}

impl Subscription {
    /// Returns whether it has ended for good. An unpaid one has not: a payment revives it, so its owner must not be
    /// sold a second one.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), "canceled" | "incomplete_expired")
    }

    /// Returns whether its first payment is still missing. The checkout page where it began can take another card.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.status == "incomplete"
    }
}

/// Says why a request to Stripe failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Stripe cannot be reached, does not respond in time, or is overloaded.
    #[error("Stripe is unavailable")]
    Unavailable(#[source] Source),
    /// Stripe has stored an error, or the response to a different request, under this idempotency key, and repeats it.
    /// The next attempt needs a new key.
    #[error("the idempotency key is spent")]
    KeySpent(#[source] Source),
    /// The customer was deleted, and every subscription with it. It never comes back.
    #[error("the customer was deleted")]
    CustomerGone,
    /// The request is wrong, or names an object that does not exist.
    #[error("Stripe refused the request")]
    Refused(#[source] Source),
}

impl From<Error> for crate::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable(_) | Error::KeySpent(_) => Self::unavailable(error),
            Error::CustomerGone => Self::NotFound("subscription"),
            Error::Refused(_) => Self::internal(error),
        }
    }
}

/// The price for sale, and the addresses the payment page leads back to.
pub struct Offer {
    price: String,
    success_url: String,
    cancel_url: String,
}

impl Offer {
    /// Reads the offer from the environment.
    ///
    /// # Errors
    /// When a variable is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            price: ProPrices::from_env()?.0.swap_remove(0),
            success_url: config::required("CHECKOUT_SUCCESS_URL")?,
            cancel_url: return_url()?,
        })
    }
}

/// The prices that make a subscription Pro: the one that is for sale first, then those of older subscriptions.
pub struct ProPrices(Vec<String>);

impl ProPrices {
    /// Reads the prices in `STRIPE_PRO_PRICE_ID`: one, or several with commas in between.
    ///
    /// # Errors
    /// When the variable is missing or holds no price.
    pub fn from_env() -> Result<Self, ConfigError> {
        const NAME: &str = "STRIPE_PRO_PRICE_ID";
        let prices: String = config::required(NAME)?;
        let prices = prices.split(',').map(str::trim).filter(|price| !price.is_empty());
        let prices: Vec<_> = prices.map(str::to_owned).collect();
        if prices.is_empty() {
            return Err(ConfigError::malformed(NAME, "no price in it"));
        }
        Ok(Self(prices))
    }

    fn contain(&self, price: &str) -> bool {
        self.0.iter().any(|known| known == price)
    }
}

/// Limits how many pages of each kind a user may ask for in an hour: `STRIPE_PAGES_PER_USER_HOUR`, by default 20. Each
/// takes some requests to Stripe, which allows 100 a second for all users together.
///
/// # Errors
/// When the variable is not a number.
pub fn page_limit() -> Result<Limit, ConfigError> {
    Ok(Limit {
        policy: "payment-pages-per-user",
        detail: "Too many payment pages were asked for. Try again later.",
        times: config::or_default("STRIPE_PAGES_PER_USER_HOUR", 20)?,
        window: Duration::from_hours(1),
    })
}

/// Reads the address that a page of Stripe's leads back to when the user leaves it.
///
/// # Errors
/// When `CHECKOUT_CANCEL_URL` is missing.
pub fn return_url() -> Result<String, ConfigError> {
    config::required("CHECKOUT_CANCEL_URL")
}
