//! Makes customers, payment pages and portal pages by Stripe's API, and reads subscriptions.
//!
//! Parses only the fields of a response that are used. The client's full objects would add 4 MB to a function, and fail
//! on fields that Stripe adds. The same holds for errors.

mod client;
mod responses;

use std::{collections::HashMap, sync::OnceLock, time::Duration};

use ::stripe::{ApiErrorsCode, ApiErrorsType, IdempotencyKey, RequestStrategy, StripeRequest};
use miniserde::Deserialize;
use secrecy::SecretString;
use stripe_billing::{
    billing_portal_session::CreateBillingPortalSession,
    subscription::{ListSubscription, ListSubscriptionStatus},
};
use stripe_checkout::checkout_session::{
    CreateCheckoutSession, CreateCheckoutSessionLineItems, CreateCheckoutSessionSubscriptionData,
    ExpireCheckoutSession, RetrieveCheckoutSession,
};
use stripe_client_core::RequestBuilder;
use stripe_core::customer::{CreateCustomer, DeleteCustomer, RetrieveCustomer};
use stripe_shared::CheckoutSessionMode;
use tokio::time::sleep;

use super::{CheckoutSession, CustomerId, Error, Offer, ProPrices, Subscription};
use crate::{
    config::{self, ConfigError},
    domain::UserId,
};
use client::{Failure, Http};
use responses::{ApiError, Customer, List, ListedSubscription, ObjectId, PortalSession, RetrievedCheckout};

/// Limits how long one request may take. A checkout needs some of them within API Gateway's 30 s.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Limits how often a request is sent while another one uses its idempotency key, and says how long it waits between.
const KEY_IN_USE_TRIES: u32 = 10;
const KEY_IN_USE_DELAY: Duration = Duration::from_millis(300);

/// The most that Stripe lists at once. No customer has more subscriptions than this.
const PAGE: i64 = 100;

/// Sends requests to Stripe, or to its stand-in at `STRIPE_URL`.
///
/// A customer or a checkout page is created once for each user and `attempt`, however many requests ask for it at the
/// same time: both are part of the idempotency key, under which Stripe repeats its first response for a day. Stripe
/// also repeats an error, and a response that is out of date; the caller then raises the attempt.
pub struct Payments {
    key: SecretString,
    url: String,
    client: OnceLock<Http>,
}

impl Payments {
    /// Configures the account that the environment describes. Nothing is opened yet.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn from_env() -> Result<Self, ConfigError> {
        let url = config::or_default("STRIPE_URL", "https://api.stripe.com".to_owned())?;
        Ok(Self { key: config::secret("STRIPE_SECRET_KEY")?, url, client: OnceLock::new() })
    }

    /// Makes a customer for `user`.
    ///
    /// The same request must always have the same content, or Stripe refuses the key: nothing that the user may change
    /// is in it. Stripe asks for an email address itself.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn create_customer(&self, user: UserId, attempt: i32) -> Result<CustomerId, Error> {
        let request = CreateCustomer::new().metadata(metadata(user));
        let key = format!("customer-{user}-{attempt}");
        match self.create::<ObjectId>(&key, &request).await {
            Ok(customer) => Ok(CustomerId(customer.id)),
            Err(error) if is_kept(&error) => Err(Error::KeySpent(error.into())),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a page on which `user` can buy `offer`. It may be one that was made earlier:
    /// [`checkout`](Self::checkout) tells whether it is still open.
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
        let mut item = CreateCheckoutSessionLineItems::new();
        item.price = Some(offer.price.clone());
        item.quantity = Some(1);
        let mut subscription = CreateCheckoutSessionSubscriptionData::new();
        subscription.metadata = Some(metadata(user));
        let request = CreateCheckoutSession::new()
            .mode(CheckoutSessionMode::Subscription)
            .customer(&customer.0)
            .client_reference_id(user.to_string())
            .metadata(metadata(user))
            .subscription_data(subscription)
            .line_items(vec![item])
            .success_url(&offer.success_url)
            .cancel_url(&offer.cancel_url);
        let key = format!("checkout-{user}-{attempt}");
        match self.create::<RetrievedCheckout>(&key, &request).await {
            Ok(session) => Ok(session.into()),
            Err(error) if is_kept(&error) => Err(Error::KeySpent(error.into())),
            Err(error) => Err(self.unless_gone(customer, error).await),
        }
    }

    /// Returns a payment page as it is now.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn checkout(&self, id: &str) -> Result<CheckoutSession, Error> {
        let session: RetrievedCheckout = self.send(RetrieveCheckoutSession::new(id).build()).await?;
        Ok(session.into())
    }

    /// Closes a payment page that is open, and leaves any other alone.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn expire_checkout(&self, id: &str) -> Result<(), Error> {
        let session: RetrievedCheckout = match self.send(RetrieveCheckoutSession::new(id).build()).await {
            Ok(session) => session,
            Err(error) if is_missing(&error) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        // Stripe refuses to close one that is not open.
        if CheckoutSession::from(session).url.is_some() {
            match self.send::<ObjectId>(ExpireCheckoutSession::new(id).build()).await {
                // The page was open a moment ago, so a payment is under way, which soon succeeds or fails.
                Err(error @ Failure::Refused(_, 400)) => {
                    return Err(Error::Unavailable(error.into()));
                }
                outcome => outcome?,
            };
        }
        Ok(())
    }

    /// Returns a customer's best Pro subscription as it is now, if there ever was one: a paid one before an unpaid one,
    /// and an unpaid one before one that has ended.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn subscription(&self, customer: &CustomerId, prices: &ProPrices) -> Result<Option<Subscription>, Error> {
        let request = ListSubscription::new()
            .customer(&customer.0)
            .status(ListSubscriptionStatus::All)
            .expand(["data.latest_invoice".to_owned()])
            .limit(PAGE);
        let page: List<ListedSubscription> = match self.send(request.build()).await {
            Ok(page) => page,
            Err(error) => return Err(self.unless_gone(customer, error).await),
        };
        let pro = page.data.into_iter().filter(|listed| listed.is_for(prices));
        let best = pro.max_by_key(ListedSubscription::rank);
        Ok(best.map(Subscription::from))
    }

    /// Makes a page, good for some minutes, on which a customer can change, cancel or resume a subscription.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn portal(&self, customer: &CustomerId, return_url: &str) -> Result<String, Error> {
        let request = CreateBillingPortalSession::new().customer(&customer.0).return_url(return_url);
        match self.send::<PortalSession>(request.build()).await {
            Ok(portal) => Ok(portal.url),
            Err(error) => Err(self.unless_gone(customer, error).await),
        }
    }

    /// Deletes a customer, which ends every subscription at once. One that is deleted already stays so.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete_customer(&self, customer: &CustomerId) -> Result<(), Error> {
        let request = DeleteCustomer::new(customer.0.as_str());
        match self.send::<ObjectId>(request.build()).await {
            Ok(_) => Ok(()),
            Err(error) => match self.unless_gone(customer, error).await {
                Error::CustomerGone => Ok(()),
                error => Err(error),
            },
        }
    }

    /// Distinguishes a deleted customer from one of another Stripe account. Stripe finds neither; a deleted one has
    /// nothing paid left, the other is a mistake of ours.
    async fn unless_gone(&self, customer: &CustomerId, error: Failure) -> Error {
        if is_missing(&error) {
            let request = RetrieveCustomer::new(customer.0.as_str());
            let found: Result<Customer, _> = self.send(request.build()).await;
            if found.is_ok_and(|customer| customer.deleted == Some(true)) {
                return Error::CustomerGone;
            }
        }
        error.into()
    }

    /// Creates an object once for each idempotency key, and waits while another request uses the key.
    async fn create<T: Deserialize>(&self, key: &str, request: &impl StripeRequest) -> Result<T, Failure> {
        let key = IdempotencyKey::new(key).map_err(|error| Failure::Misconfigured(error.into()))?;
        let mut tries = 1;
        loop {
            let request = request.build().customize();
            let request = request.request_strategy(RequestStrategy::Idempotent(key.clone()));
            match request.send(self.client()?).await {
                Err(Failure::Refused(error, _)) if is_in_use(&error) && tries < KEY_IN_USE_TRIES => {
                    tries += 1;
                    sleep(KEY_IN_USE_DELAY).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn send<T: Deserialize>(&self, request: RequestBuilder) -> Result<T, Failure> {
        request.customize().send(self.client()?).await
    }

    fn client(&self) -> Result<&Http, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Http::new(&self.url, &self.key, TIMEOUT)?;
        Ok(self.client.get_or_init(|| client))
    }
}

/// Names the user in Stripe's dashboard.
fn metadata(user: UserId) -> HashMap<String, String> {
    HashMap::from([("user_id".to_owned(), user.to_string())])
}

/// Returns whether Stripe has stored this error under the idempotency key. It stores none for a request that it never
/// began: an invalid one, one beyond its rate limit, and one whose key is in use
/// (<https://docs.stripe.com/api/idempotent_requests>).
fn is_kept(error: &Failure) -> bool {
    matches!(error, Failure::Refused(error, status)
        if *status >= 500 || error.type_ == ApiErrorsType::IdempotencyError && !is_in_use(error))
}

fn is_missing(error: &Failure) -> bool {
    matches!(error, Failure::Refused(error, _) if error.code == Some(ApiErrorsCode::ResourceMissing))
}

/// Returns whether Stripe is serving another request with the same key at this moment.
fn is_in_use(error: &ApiError) -> bool {
    error.code == Some(ApiErrorsCode::IdempotencyKeyInUse)
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match &failure {
            // A response that cannot be read most likely comes from a proxy between us and Stripe.
            Failure::Refused(_, 409 | 429 | 500..) | Failure::NoResponse(_) | Failure::Unreadable(_) => {
                Self::Unavailable(failure.into())
            }
            Failure::Refused(..) | Failure::Misconfigured(_) => Self::Refused(failure.into()),
        }
    }
}
