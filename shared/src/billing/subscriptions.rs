//! Storing what Stripe says about a subscription.
//!
//! Whatever makes somebody look (an event, the hourly run, a checkout) takes a **number** from the sequence `looks`
//! before Stripe is asked, and what was seen is stored only over a look with a lower number. So a slow look cannot put
//! an old state over a newer one: a higher number was taken later, and its answer is therefore at least as new as
//! anything that was known when the lower number was taken.
//!
//! That is all that convergence needs. The look for an event takes its number after the change that the event reports;
//! from then on only looks that began later can replace what it stored, and those have seen the change too. An answer
//! that is refused was overtaken by such a look, so its event is handled all the same. It matters that the number is
//! compared with the last one *stored*: the last one *taken* may belong to a look that never came back.

use super::{CustomerId, Error, Payments, Subscription};
use crate::{Result, database::Database};

/// Marks the event as handled together with what was learned from it: an event is handled exactly when its effect is
/// stored. A customer of whom no user is known is nobody's business here.
///
/// Who stays late is late since the first unpaid invoice, not the newest.
const STORE: &str = "
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
        look = $3,
        looked_at = now()
    where stripe_customer_id = $1 and look < $3";

/// Asks Stripe for the subscription of `customer` and stores the answer. `look` is the number that was taken from the
/// sequence `looks` beforehand, and `event` the id of the event that gave reason to look, which is then handled.
///
/// # Errors
/// When Stripe or Postgres fails. Nothing is stored then, and the event is not handled.
pub async fn refresh(
    database: &Database,
    payments: &Payments,
    customer: &CustomerId,
    look: i64,
    event: Option<&str>,
) -> Result<Option<Subscription>> {
    let subscription = match payments.subscription(customer).await {
        Ok(subscription) => subscription,
        Err(Error::CustomerGone) => {
            forget_customer(database, customer, event).await?;
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
                &event,
                &look,
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

/// No number is needed: a deleted customer stays deleted. The next attempt makes another one.
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
        looked_at = now()
    where stripe_customer_id = $1";

/// Forgets a customer that was deleted at Stripe, and whatever it paid for.
///
/// # Errors
/// When Postgres fails.
pub async fn forget_customer(
    database: &Database,
    customer: &CustomerId,
    event: Option<&str>,
) -> Result<()> {
    database.query(FORGET, &[&customer.0, &event]).await?;
    Ok(())
}
