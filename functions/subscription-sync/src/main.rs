//! Every hour: asks Stripe about the subscriptions that nothing was heard of for a day, and about checkouts that never
//! reported back, so that a lost event cannot last. One statement says which, and one stores each answer.

use futures_util::{StreamExt, stream};
use lambda_runtime::{Error, LambdaEvent};
use serde_json::{Value, json};
use shared::{
    billing::{self, CustomerId, Payments},
    config::{self, ConfigError},
    database::Database,
    telemetry::Chain,
};
use tracing::{error, info};

/// How many are looked at in one run, oldest look first, and how many at a time. Stripe allows 100 requests a second
/// (<https://docs.stripe.com/rate-limits>), which are for users first.
const BATCH: i64 = 2_000;
const CONCURRENCY: usize = 4;

struct App {
    database: Database,
    payments: Payments,
    /// How old a look may get.
    after_seconds: f64,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            database: Database::from_env()?,
            payments: Payments::from_env()?,
            after_seconds: config::or_default("SYNC_AFTER_SECONDS", 86_400.0)?,
        })
    }
}

/// A subscription that has not ended is due after a day, and when its period ended. A checkout may still be paid, or
/// was paid and nobody said so, for as long as its page is open and some time longer. Each of the three finds its few
/// rows by an index.
const DUE: &str = "
    with due as (
        select stripe_customer_id
        from subscriptions
        where stripe_customer_id is not null
          and (checkout_at > now() - interval '2 days'
                   and (status is null or status in ('canceled', 'incomplete_expired'))
               or looked_at < now() - make_interval(secs => $1)
                   and status not in ('canceled', 'incomplete_expired')
               or current_period_end >= looked_at and current_period_end <= now()
                   and status not in ('canceled', 'incomplete_expired'))
        order by looked_at nulls first
        limit $2
    )
    select stripe_customer_id, nextval('looks') as look from due";

async fn sync(app: &App) -> Result<Value, Error> {
    let due = app
        .database
        .query(DUE, &[&app.after_seconds, &BATCH])
        .await?;
    let failed = stream::iter(&due)
        .map(|row| app.look(CustomerId(row.get("stripe_customer_id")), row.get("look")))
        .buffer_unordered(CONCURRENCY)
        .filter(|looked| std::future::ready(!looked))
        .count()
        .await;
    info!(
        looked = due.len(),
        failed, "asked Stripe about subscriptions"
    );
    if failed > 0 && failed == due.len() {
        return Err("Stripe told nothing about any subscription".into());
    }
    Ok(json!({ "looked": due.len(), "failed": failed }))
}

impl App {
    /// Whether it could be looked at. If not, the next run tries again.
    async fn look(&self, customer: CustomerId, look: i64) -> bool {
        let looked = billing::refresh(&self.database, &self.payments, &customer, look, None).await;
        if let Err(error) = &looked {
            error!(customer = customer.0, error = %Chain(error), "a subscription was not looked at");
        }
        looked.is_ok()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shared::run(App::from_env, |app, _: LambdaEvent<Value>| sync(app)).await
}

#[cfg(test)]
mod tests {
    //! How the few that are due are found among all.

    use shared::testing;

    use super::*;

    #[tokio::test]
    async fn the_table_is_not_read_from_end_to_end() {
        let database = testing::database().await;
        testing::crowd(&database).await;
        let plan = testing::plan(&database, DUE, &[&86_400.0, &BATCH]).await;
        assert!(!plan.contains("Seq Scan"), "{plan}");
    }
}
