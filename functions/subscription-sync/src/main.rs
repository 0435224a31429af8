//! Every hour: asks Stripe about subscriptions that were not observed for a day, and about checkouts that never
//! reported back, so that a lost event is made up for. One statement selects them, and one stores each observation.

use futures_util::{StreamExt, stream};
use lambda_runtime::{Error, LambdaEvent};
use serde_json::{Value, json};
use shared::{
    billing::{self, CustomerId, Observation, Payments, ProPrices},
    config::{self, ConfigError},
    database::Database,
    telemetry::Chain,
};
use tracing::{error, info};

/// Limits how many are observed in one run, oldest observation first, and how many at a time. Stripe allows 100
/// requests a second (<https://docs.stripe.com/rate-limits>), which are for users first.
const BATCH: i64 = 2_000;
const CONCURRENCY: usize = 4;

struct App {
    database: Database,
    payments: Payments,
    prices: ProPrices,
    /// How old an observation may get.
    after_seconds: f64,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            database: Database::from_env()?,
            payments: Payments::from_env()?,
            prices: ProPrices::from_env()?,
            after_seconds: config::or_default("SYNC_AFTER_SECONDS", 86_400.0)?,
        })
    }
}

/// Selects what is due and takes a number for each. A subscription that has not ended is due after a day, and when its
/// period ended; a checkout, for as long as its page is open and some time longer. Each of the three finds its few rows
/// by an index.
const DUE: &str = "
    with due as (
        select user_id
        from subscriptions
        where stripe_customer_id is not null
          and (checkout_at > now() - interval '2 days'
                   and (status is null or status in ('canceled', 'incomplete_expired'))
               or observed_at < now() - make_interval(secs => $1)
                   and status not in ('canceled', 'incomplete_expired')
               or current_period_end >= observed_at and current_period_end <= now()
                   and status not in ('canceled', 'incomplete_expired'))
        order by observed_at nulls first
        limit $2
        for no key update skip locked -- a newer response about a locked one is on its way
    )
    update subscriptions set observations = observations + 1
    from due where subscriptions.user_id = due.user_id
    returning stripe_customer_id, observations as number";

/// Forgets old events. Stripe repeats one for three days at most.
const PURGE: &str = "
    delete from stripe_events
    where id in (
        select id from stripe_events where received_at < now() - interval '30 days' order by received_at limit 10000
    )";

async fn sync(app: &App) -> Result<Value, Error> {
    app.database.query(PURGE, &[]).await?;
    let due = app.database.query(DUE, &[&app.after_seconds, &BATCH]).await?;
    let failed = stream::iter(&due)
        .map(|row| Observation {
            customer: CustomerId(row.get("stripe_customer_id")),
            number: row.get("number"),
            event: None,
        })
        .map(|observation| app.observe(observation))
        .buffer_unordered(CONCURRENCY)
        .filter(|succeeded| std::future::ready(!succeeded))
        .count()
        .await;
    info!(observed = due.len(), failed, "asked Stripe about subscriptions");
    if failed > 0 && failed == due.len() {
        return Err("Stripe said nothing about any subscription".into());
    }
    Ok(json!({ "observed": due.len(), "failed": failed }))
}

impl App {
    /// Makes an observation and returns whether Stripe responded. If not, the next run tries again.
    async fn observe(&self, observation: Observation<'_>) -> bool {
        let outcome = billing::refresh(&self.database, &self.payments, &self.prices, &observation).await;
        if let Err(error) = &outcome {
            let customer = &observation.customer.0;
            error!(customer, error = %Chain(error), "a subscription was not observed");
        }
        outcome.is_ok()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shared::run(App::from_env, |app, _: LambdaEvent<Value>| sync(app)).await
}

#[cfg(test)]
mod tests {
    //! Tests that the few that are due are found by index, and that old events go.

    use shared::testing;

    use super::*;

    #[tokio::test]
    async fn an_event_is_forgotten_after_thirty_days() {
        let app = App { database: testing::database().await, ..App::from_env().unwrap() };
        let insert = "
            insert into stripe_events (id, type, received_at)
            values ('old', '', now() - interval '31 days'), ('new', '', now() - interval '29 days')";
        app.database.query(insert, &[]).await.unwrap();
        sync(&app).await.unwrap();
        let left = app.database.query("select id from stripe_events", &[]).await;
        let left: Vec<String> = left.unwrap().iter().map(|row| row.get("id")).collect();
        assert_eq!(left, ["new"]);
    }

    #[tokio::test]
    async fn the_table_is_not_read_from_end_to_end() {
        let database = testing::database().await;
        testing::crowd(&database).await;
        let plan = testing::plan(&database, DUE, &[&86_400.0, &BATCH]).await;
        assert!(!plan.contains("Seq Scan"), "{plan}");
    }
}
