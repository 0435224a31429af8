//! `POST /webhook/stripe`: takes Stripe's word that something changed, and asks what.
//!
//! Events come twice, late, in any order or never, so their content is not believed, only kept: the subscription is
//! read from Stripe and stored as it is now. Whatever is genuine is accepted, also what nobody here knows. An event
//! that could not be handled is a 5xx, and Stripe sends it again.
//!
//! Two statements, because Stripe is asked in between: the event must be on record before, and it is handled only
//! together with the answer.

use lambda_http::{Body, Request, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{
    Error, Result,
    billing::{self, CustomerId, Forged, Payments, SigningSecrets},
    config::ConfigError,
    database::Database,
    http,
};

/// The types that say that a customer's subscription may have changed.
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
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            secrets: SigningSecrets::from_env()?,
            database: Database::from_env()?,
            payments: Payments::from_env()?,
        })
    }
}

/// As little of an event as can be: whatever else it has may change with the version of the API.
#[derive(Deserialize)]
struct Event {
    id: String,
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    data: Value,
}

impl Event {
    /// The customer to ask about: an id, or an object when the endpoint's version expands it.
    fn customer(&self) -> Option<CustomerId> {
        if !TYPES.contains(&self.r#type.as_str()) {
            return None;
        }
        let object = &self.data["object"];
        let customer = match self.r#type.as_str() {
            "customer.deleted" => object,
            _ => &object["customer"],
        };
        let id = customer.as_str().or_else(|| customer["id"].as_str())?;
        Some(CustomerId(id.to_owned()))
    }
}

async fn receive(app: &App, request: Request) -> Result<Response<Body>> {
    let body: &[u8] = request.body().as_ref(); // API Gateway's base64 is undone by now
    let signature = request.headers().get("stripe-signature");
    let signature = signature.and_then(|value| value.to_str().ok());
    app.secrets
        .verify(signature.ok_or(Forged::Unsigned)?, body)?;
    let payload = std::str::from_utf8(body).map_err(unreadable)?;
    let event: Event = serde_json::from_str(payload).map_err(unreadable)?;

    let customer = event.customer();
    if let Some(look) = app.record(&event, payload, customer.is_none()).await?
        && let Some(customer) = &customer
    {
        billing::refresh(
            &app.database,
            &app.payments,
            customer,
            look,
            Some(&event.id),
        )
        .await?;
    }
    http::ok(&json!({ "received": true }))
}

fn unreadable(error: impl std::fmt::Display) -> Error {
    Error::Malformed(format!("The body is no Stripe event: {error}."))
}

/// Keeps an event, once, as it came. Its number for the look that follows is taken after the change that the event
/// reports, and before Stripe is asked.
const RECORD: &str = "
    insert into stripe_events as event (id, type, payload, handled_at)
    values ($1, $2, $3, case when $4 then now() end)
    on conflict (id) do update set id = event.id
    returning handled_at is not null as is_handled, nextval('looks') as look";

impl App {
    /// The number for the look at Stripe, unless nothing is left to do: it was handled before, or `is_done` already.
    async fn record(&self, event: &Event, payload: &str, is_done: bool) -> Result<Option<i64>> {
        let row = self
            .database
            .query_one(RECORD, &[&event.id, &event.r#type, &payload, &is_done])
            .await?;
        Ok((!row.get::<_, bool>("is_handled")).then(|| row.get("look")))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(App::from_env, receive).await
}

#[cfg(test)]
mod tests {
    //! What an event may look like.

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
