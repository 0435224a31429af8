//! Payments: who pays is a customer of Stripe's, and what a user gets follows from what Stripe says now.
//!
//! [`Payments`] asks Stripe, [`refresh`] stores what it says, and a webhook, verified by
//! its [signature](SigningSecrets), tells when to ask. A Stripe event is
//! a hint, not a fact: nothing of its content is stored as ours.

mod signature;
mod stripe;
mod subscriptions;

use time::OffsetDateTime;

use crate::{
    config::{self, ConfigError},
    domain::UserId,
    error::Source,
};

pub use signature::{Forged, SigningSecrets};
pub use subscriptions::{forget_customer, refresh};

/// Names a customer of Stripe's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerId(pub String);

/// A page on which a user can pay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutSession {
    /// Its id.
    pub id: String,
    /// Where it is, for as long as it is open. Nobody can pay on one that was paid or that expired.
    pub url: Option<String>,
}

/// What Stripe says about a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Its id.
    pub id: String,
    /// Stripe's word for how it stands: `active`, `past_due`, `canceled`. New words may come.
    pub status: String,
    /// Until when it is paid, or was to be paid.
    pub current_period_end: Option<OffsetDateTime>,
    /// Whether it ends with the period instead of being renewed.
    pub cancel_at_period_end: bool,
    /// For a `past_due` one, since when its invoice is waiting to be paid.
    pub past_due_since: Option<OffsetDateTime>,
}

impl Subscription {
    /// Whether it is over for good. One that is merely unpaid is not: it comes back with a payment, so that nobody
    /// should be sold a second one.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), "canceled" | "incomplete_expired")
    }
}

/// Why Stripe did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached, does not answer in time, or has too much to do.
    #[error("Stripe is unavailable")]
    Unavailable(#[source] Source),
    /// What Stripe keeps under this idempotency key is an error, or the answer to another request, and it would answer
    /// the same again. Another attempt needs another key.
    #[error("the idempotency key is spent")]
    KeySpent(#[source] Source),
    /// The customer was deleted, and every subscription with it. It never comes back.
    #[error("the customer was deleted")]
    CustomerGone,
    /// The request is at fault, or what it names is not there.
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

/// What is for sale, and where the payment page leads back to.
pub struct Offer {
    price: String,
    success_url: String,
    cancel_url: String,
}

impl Offer {
    /// The offer that the environment describes.
    ///
    /// # Errors
    /// When a variable is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            price: config::required("STRIPE_PRO_PRICE_ID")?,
            success_url: config::required("CHECKOUT_SUCCESS_URL")?,
            cancel_url: return_url()?,
        })
    }
}

/// Where a page of Stripe's leads back to when there is nothing more to do on it.
///
/// # Errors
/// When `CHECKOUT_CANCEL_URL` is missing.
pub fn return_url() -> Result<String, ConfigError> {
    config::required("CHECKOUT_CANCEL_URL")
}

/// Stripe, or whatever answers as it does at `STRIPE_URL`.
///
/// What is made is made once for each user and `attempt`, however often it is asked for and however many ask at the
/// same time: both go into the idempotency key, under which Stripe repeats its first answer for a day. It repeats an
/// answer that is out of date and an error just as well; the attempt is then raised.
pub struct Payments(stripe::Stripe);

impl Payments {
    /// The account that the environment describes. Nothing is opened yet.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn from_env() -> Result<Self, ConfigError> {
        stripe::Stripe::from_env().map(Self)
    }

    /// Makes a customer for `user`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn create_customer(&self, user: UserId, attempt: i32) -> Result<CustomerId, Error> {
        self.0.create_customer(user, attempt).await
    }

    /// Makes a page on which `user` can buy what `offer` offers. It may be the answer of an earlier time: whether the
    /// page is still open is what [`checkout`](Self::checkout) says.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn create_checkout(
        &self,
        offer: &Offer,
        user: UserId,
        customer: &CustomerId,
        attempt: i32,
    ) -> Result<CheckoutSession, Error> {
        self.0.create_checkout(offer, user, customer, attempt).await
    }

    /// How a payment page stands now.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn checkout(&self, id: &str) -> Result<CheckoutSession, Error> {
        self.0.checkout(id).await
    }

    /// Closes a payment page that is open, and leaves any other alone.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn expire_checkout(&self, id: &str) -> Result<(), Error> {
        self.0.expire_checkout(id).await
    }

    /// The best of a customer's subscriptions as it is now, if there ever was one.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn subscription(&self, customer: &CustomerId) -> Result<Option<Subscription>, Error> {
        self.0.subscription(customer).await
    }

    /// The address of a page, good for some minutes, on which a customer can change, cancel or resume a subscription.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn portal(&self, customer: &CustomerId, return_url: &str) -> Result<String, Error> {
        self.0.portal(customer, return_url).await
    }

    /// Deletes a customer, which ends every subscription at once. One that is deleted already stays so.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete_customer(&self, customer: &CustomerId) -> Result<(), Error> {
        self.0.delete_customer(customer).await
    }
}
