//! Stores observations of a subscription, numbered so that a slow one cannot replace a newer one.
//!
//! Before a function asks Stripe (because of an event, the hourly run or a checkout), it raises the count of
//! observations in the customer's row. The result is the **number** of its observation, which is stored only over one
//! with a lower number. A higher number was taken later, so Stripe's response to it is at least as new as anything that
//! was known when the lower one was taken: a slow observation cannot replace a newer state.
//!
//! Convergence needs no more. The observation for an event takes its number after the change that the event reports.
//! Only observations that began later can replace it, and they have seen the change too. An observation that is refused
//! was overtaken by a later one, so its event counts as handled. Its number is compared with the last one *stored*,
//! because the request that took the last number may never return.

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

/// An observation that has taken its number, before Stripe is asked.
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
    let observed = subscription.as_ref();
    database
        .query(
            STORE,
            &[
                &customer.0,
                event,
                number,
                &observed.map(|observed| &observed.id),
                &observed.map(|observed| &observed.status),
                &observed.and_then(|observed| observed.current_period_end),
                &observed.is_some_and(|observed| observed.cancel_at_period_end),
                &observed.and_then(|observed| observed.past_due_since),
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
