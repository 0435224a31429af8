//! `POST /webhook/stripe`: learns that a subscription changed, and asks Stripe how it stands.
//!
//! Events come twice, late, in any order or never, so their content is not used: the subscription is read from Stripe
//! and stored as it is now. A genuine event is accepted even when its customer belongs to no user. One that could not
//! be handled gets a 5xx, and Stripe sends it again.
//!
//! Two statements, because Stripe is asked in between: the first records the event, the second stores Stripe's response
//! and marks the event as handled.

use lambda_http::{Body, Request, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{
    Error, Result,
    billing::{self, CustomerId, Forged, Observation, Payments, ProPrices, SigningSecrets},
    config::ConfigError,
    database::Database,
    http,
};
use tracing::warn;

/// The types of event after which a customer's subscription may have changed.
const TYPES: &[&str] = &[
    "checkout.session.async_payment_failed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "checkout.session.expired",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.updated",
    "invoice.paid",
    "invoice.payment_action_required",
    "invoice.payment_failed",
];

struct App {
    secrets: SigningSecrets,
    database: Database,
    payments: Payments,
    prices: ProPrices,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            secrets: SigningSecrets::from_env()?,
            database: Database::from_env()?,
            payments: Payments::from_env()?,
            prices: ProPrices::from_env()?,
        })
    }
}

/// The fields of an event that are used. Others may change with the version of the API.
#[derive(Deserialize)]
struct Event {
    id: String,
    #[serde(default)]
    r#type: String,
    /// The connected account that it concerns, if not ours.
    account: Option<Value>,
    #[serde(default)]
    data: Value,
}

impl Event {
    /// Returns the customer to ask about: an id, or an object when the endpoint's version expands it.
    fn customer(&self) -> Option<CustomerId> {
        if let Some(account) = &self.account {
            warn!(event = self.id, %account, "an event is about another account");
            return None;
        }
        if !TYPES.contains(&self.r#type.as_str()) {
            return None;
        }
        let object = &self.data["object"];
        let customer = match self.r#type.as_str() {
            "customer.deleted" => object,
            _ => &object["customer"],
        };
        let id = customer.as_str().or_else(|| customer["id"].as_str())?;
        if id.contains('\0') {
            return None; // Stripe has no such customer, and Postgres no such text
        }
        Some(CustomerId(id.to_owned()))
    }
}

async fn receive(app: &App, request: Request) -> Result<Response<Body>> {
    let body: &[u8] = request.body().as_ref(); // API Gateway's base64 is undone by now
    let signature = request.headers().get("stripe-signature");
    let signature = signature.and_then(|value| value.to_str().ok());
    app.secrets.verify(signature.ok_or(Forged::Unsigned)?, body)?;
    let payload = std::str::from_utf8(body).map_err(unreadable)?;
    let event: Event = serde_json::from_str(payload).map_err(unreadable)?;
    if event.id.contains('\0') || event.r#type.contains('\0') {
        return Err(unreadable("a NUL in its id or type"));
    }

    if let Some(observation) = app.record(&event).await? {
        billing::refresh(&app.database, &app.payments, &app.prices, &observation).await?;
    }
    http::ok(&json!({ "received": true }))
}

fn unreadable(error: impl std::fmt::Display) -> Error {
    Error::Malformed(format!("The body is no Stripe event: {error}."))
}

/// Records an event, once, and takes the number of an observation of its customer: after the change that the event
/// reports, and before Stripe is asked. An event whose customer belongs to no user is handled with that.
const RECORD: &str = "
    -- $1 id, $2 type, $3 customer
    with observation as (
        update subscriptions set observations = observations + 1
        where stripe_customer_id = $3
        returning user_id, observations
    )
    insert into stripe_events as event (id, type, customer, user_id, handled_at)
    select $1, $2, $3, user_id, case when user_id is null then now() end
    from (values (true)) as always left join observation on true
    on conflict (id) do update set id = event.id -- changes nothing, so that the row is returned
    returning handled_at is not null as is_handled, (select observations from observation) as number";

impl App {
    /// Returns the observation to make, unless the event was handled before or its customer belongs to no user.
    async fn record<'a>(&self, event: &'a Event) -> Result<Option<Observation<'a>>> {
        let customer = event.customer();
        let id = customer.as_ref().map(|customer| &customer.0);
        let row = self.database.query_one(RECORD, &[&event.id, &event.r#type, &id]).await?;
        let is_handled: bool = row.get("is_handled");
        let number: Option<i64> = row.get("number");
        let Some((customer, number)) = customer.clone().zip(number) else {
            if let Some(CustomerId(customer)) = customer {
                warn!(event = event.id, customer, "an event is about a customer of nobody here");
            }
            return Ok(None);
        };
        Ok((!is_handled).then_some(Observation { customer, number, event: Some(&event.id) }))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, receive).await
}

#[cfg(test)]
mod tests {
    //! Tests that an event of any form can be read.

    use proptest::prelude::*;

    use super::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            "cus_[a-z]{3}|\\PC{0,9}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 32, 4, |inner| {
            let name = "id|data|object|customer|type|[a-z]";
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(name, inner, 0..5).prop_map(|object| json!(object)),
            ]
        })
    }

    proptest! {
        #[test]
        fn an_event_of_whatever_form_is_read_as_far_as_it_can_be(
            data in any_json(),
            other in any_json(),
            kind in prop::sample::select(TYPES),
        ) {
            let event = json!({ "id": "evt_1", "type": kind, "data": data, "new": other });
            let event: Event = serde_json::from_value(event)?;
            if let Some(CustomerId(id)) = event.customer() {
                prop_assert!(data.to_string().contains(&Value::from(id).to_string()));
            }
            // Without the members that are needed it is no event, and that is no crash either.
            let _ = serde_json::from_value::<Event>(other);
        }
    }
}
