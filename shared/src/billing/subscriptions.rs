//! Stores observations of a subscription, numbered so that a slow one cannot replace a newer one.
//!
//! Whatever gives reason to observe a subscription (an event, the hourly run, a checkout) raises the **number** of
//! observations of its row before Stripe is asked, and an observation is stored only over one with a lower number. So a
//! slow one cannot put an old state over a newer one: a higher number was taken later, and Stripe's answer is therefore
//! at least as new as anything that was known when the lower number was taken.
//!
//! That is all that convergence needs. The observation for an event takes its number after the change that the event
//! reports; from then on only observations that began later can replace it, and those have seen the change too. One
//! that is refused was overtaken by such an observation, so its event is handled all the same. It matters that the
//! number is compared with the last one *stored*: the last one *begun* may never come back.

use super::{CustomerId, Error, Payments, ProPrices, Subscription};
use crate::{Result, database::Database};

/// Stores an observation and marks its event as handled, so that an event is handled exactly when its effect is stored.
/// Does nothing for a customer that no user has.
///
/// `past_due_since` stays at the first unpaid invoice while further ones fall due.
const STORE: &str = "
    -- $1 customer, $2 event, $3 number, $4 subscription, $5 status, $6 period end, $7 ends then, $8 past due since
    with event as (
        update stripe_events set handled_at = now() where id = $2 and handled_at is null
    )
    update subscriptions
    set stripe_subscription_id = $4,
        status = $5,
        current_period_end = $6,
        cancel_at_period_end = $7,
        past_due_since = case when $5 = 'past_due' then least(
            coalesce($8, now()),
            case when status = 'past_due' and stripe_subscription_id = $4 then past_due_since end
        ) end,
        observation = $3,
        observed_at = now()
    where stripe_customer_id = $1 and observation < $3";

/// An observation that was begun: it has its number.
pub struct Observation<'a> {
    /// Whose subscription to ask for.
    pub customer: CustomerId,
    /// Its number among those of the customer's row.
    pub number: i64,
    /// The id of the event that caused it.
    pub event: Option<&'a str>,
}

/// Asks Stripe for the Pro subscription of a customer, stores the response, and marks the event that caused it as
/// handled.
///
/// # Errors
/// When Stripe or Postgres fails. Nothing is stored then, and the event is not handled.
pub async fn refresh(
    database: &Database,
    payments: &Payments,
    prices: &ProPrices,
    observation: &Observation<'_>,
) -> Result<Option<Subscription>> {
    let Observation { customer, number, event } = observation;
    let subscription = match payments.subscription(customer, prices).await {
        Ok(subscription) => subscription,
        Err(Error::CustomerGone) => {
            forget_customer(database, customer, *event).await?;
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let told = subscription.as_ref();
    database
        .query(
            STORE,
            &[
                &customer.0,
                event,
                number,
                &told.map(|told| &told.id),
                &told.map(|told| &told.status),
                &told.and_then(|told| told.current_period_end),
                &told.is_some_and(|told| told.cancel_at_period_end),
                &told.and_then(|told| told.past_due_since),
            ],
        )
        .await?;
    Ok(subscription)
}

/// Removes a deleted customer from its row, without a number: it stays deleted. The next attempt makes another one.
const FORGET: &str = "
    with event as (
        update stripe_events set handled_at = now() where id = $2 and handled_at is null
    )
    update subscriptions
    set stripe_customer_id = null,
        checkout_attempt = checkout_attempt + 1,
        checkout_session_id = null,
        status = case when status is not null then 'canceled' end,
        cancel_at_period_end = false,
        past_due_since = null,
        observed_at = now()
    where stripe_customer_id = $1";

/// Forgets a customer that was deleted at Stripe, and whatever it paid for.
///
/// # Errors
/// When Postgres fails.
pub async fn forget_customer(database: &Database, customer: &CustomerId, event: Option<&str>) -> Result<()> {
    database.query(FORGET, &[&customer.0, &event]).await?;
    Ok(())
}
