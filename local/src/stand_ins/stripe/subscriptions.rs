//! Subscriptions and their invoices: made, changed and ended, with the events that Stripe sends about it.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    account::{Account, Answer, now},
    failure::Failure,
    parameters::Parameters,
};

const MONTH: i64 = 30 * 24 * 60 * 60;

/// What a test can change about a subscription, as time or a bank would.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Change {
    /// One of Stripe's statuses.
    pub status: Option<String>,
    /// The end of the period, in seconds since 1970.
    pub current_period_end: Option<i64>,
    /// Whether it ends then.
    pub cancel_at_period_end: Option<bool>,
    /// The date of its end.
    pub cancel_at: Option<i64>,
    /// With `past_due`: when the invoice that was not paid was finalised, in seconds since 1970.
    pub unpaid_since: Option<i64>,
}

const STATUSES: [&str; 8] = [
    "active",
    "trialing",
    "past_due",
    "unpaid",
    "paused",
    "incomplete",
    "incomplete_expired",
    "canceled",
];

impl Account {
    /// Starts a subscription that is paid.
    pub fn start_subscription(&mut self, customer: &str, price: &str, metadata: &Value) -> Answer {
        let price = self.find("price", price, "items[0][price]")?.clone();
        let (id, item) = (self.new_id("sub"), self.new_id("si"));
        let item = self::item(&item, &id, &price);
        let invoice = self.invoice(customer, &id, true, now());
        let subscription = self.put(json!({
            "id": id, "object": "subscription", "application": null, "application_fee_percent": null,
            "automatic_tax": {"enabled": false, "disabled_reason": null, "liability": null},
            "billing_schedules": [], "billing_cycle_anchor": now(), "billing_mode": {"type": "classic"},
            "cancel_at": null,
            "cancel_at_period_end": false, "canceled_at": null,
            "cancellation_details": {"comment": null, "feedback": null, "reason": null},
            "collection_method": "charge_automatically", "created": now(), "currency": "usd", "customer": customer,
            "days_until_due": null, "default_payment_method": null, "description": null, "discounts": [],
            "ended_at": null,
            "invoice_settings": {"account_tax_ids": null, "issuer": {"type": "self"}},
            "items": {
                "object": "list", "has_more": false, "total_count": 1,
                "url": format!("/v1/subscription_items?subscription={id}"),
                "data": [item],
            },
            "latest_invoice": invoice["id"], "livemode": false, "metadata": metadata, "pause_collection": null,
            "schedule": null, "start_date": now(), "status": "active", "trial_end": null, "trial_start": null,
        }));
        self.emit("customer.subscription.created", &subscription);
        self.emit("invoice.paid", &invoice);
        Ok(subscription)
    }

    /// `POST /v1/subscriptions`, as the dashboard would make one.
    pub fn create_subscription(&mut self, parameters: &Parameters) -> Answer {
        parameters.only(&["customer", "items", "metadata", "expand"])?;
        let customer = parameters.required("customer")?;
        self.customer(customer, "customer")?;
        let price = parameters.required("items[0][price]")?;
        let subscription =
            self.start_subscription(customer, price, &parameters.metadata("metadata"))?;
        self.show(&subscription, parameters)
    }

    /// `GET /v1/subscriptions`.
    pub fn list_subscriptions(&mut self, parameters: &Parameters) -> Answer {
        parameters.only(&["customer", "status", "price", "limit", "expand"])?;
        let customer = parameters.get("customer");
        if let Some(customer) = customer {
            self.customer(customer, "customer")?;
        }
        let (status, price) = (parameters.get("status"), parameters.get("price"));
        self.list("subscription", "/v1/subscriptions", parameters, |found| {
            let right_status = match status {
                None => found["status"] != "canceled",
                Some("all") => true,
                Some("ended") => ["canceled", "incomplete_expired"]
                    .iter()
                    .any(|ended| found["status"] == *ended),
                Some(status) => found["status"] == status,
            };
            right_status
                && customer.is_none_or(|customer| found["customer"] == customer)
                && price.is_none_or(|price| found["items"]["data"][0]["price"]["id"] == price)
        })
    }

    /// `POST /v1/subscriptions/{id}`.
    pub fn update_subscription(&mut self, id: &str, parameters: &Parameters) -> Answer {
        parameters.only(&["cancel_at_period_end", "expand"])?;
        let cancel_at_period_end = parameters.flag("cancel_at_period_end")?;
        let subscription = self.change_subscription(
            id,
            &Change {
                cancel_at_period_end,
                ..Change::default()
            },
        )?;
        self.show(&subscription, parameters)
    }

    /// `DELETE /v1/subscriptions/{id}`: ends it now.
    pub fn cancel_subscription(&mut self, id: &str) -> Answer {
        self.change_subscription(
            id,
            &Change {
                status: Some("canceled".into()),
                ..Change::default()
            },
        )
    }

    /// Changes a subscription and emits what Stripe would.
    pub fn change_subscription(&mut self, id: &str, change: &Change) -> Answer {
        let before = self.find("subscription", id, "id")?.clone();
        if before["status"] == "canceled" {
            let message =
                "A canceled subscription can only update its cancellation_details and metadata.";
            return Err(Failure::new(400, "invalid_request_error", message));
        }
        let status = change
            .status
            .as_deref()
            .or(before["status"].as_str())
            .unwrap_or_default()
            .to_owned();
        if !STATUSES.contains(&status.as_str()) {
            return Err(Failure::invalid(
                "status",
                &format!("Invalid status: one of {}", STATUSES.join(", ")),
            ));
        }
        let customer = before["customer"].as_str().unwrap_or_default().to_owned();
        let invoice = match (status.as_str(), before["status"].as_str()) {
            ("past_due", _) => {
                let since = change.unpaid_since.unwrap_or_else(now);
                Some((
                    "invoice.payment_failed",
                    self.invoice(&customer, id, false, since),
                ))
            }
            ("active", Some("past_due" | "unpaid")) => {
                Some(("invoice.paid", self.invoice(&customer, id, true, now())))
            }
            _ => None,
        };

        let subscription = self.find("subscription", id, "id")?;
        subscription["status"] = status.as_str().into();
        if let Some(end) = change.current_period_end {
            subscription["items"]["data"][0]["current_period_end"] = end.into();
        }
        if let Some(cancel) = change.cancel_at_period_end {
            subscription["cancel_at_period_end"] = cancel.into();
            let end = subscription["items"]["data"][0]["current_period_end"].clone();
            subscription["cancel_at"] = if cancel { end } else { Value::Null };
            subscription["canceled_at"] = cancel.then(now).into();
        }
        if let Some(at) = change.cancel_at {
            subscription["cancel_at"] = at.into();
        }
        if let Some((_, invoice)) = &invoice {
            subscription["latest_invoice"] = invoice["id"].clone();
        }
        let ended = status == "canceled";
        if ended {
            subscription["ended_at"] = now().into();
            subscription["canceled_at"] = now().into();
        }
        let subscription = subscription.clone();
        if let Some((kind, invoice)) = invoice {
            self.emit(kind, &invoice);
        }
        let verb = if ended { "deleted" } else { "updated" };
        self.emit(&format!("customer.subscription.{verb}"), &subscription);
        Ok(subscription)
    }
}

/// What a subscription consists of. Its period is the subscription's.
fn item(id: &str, subscription: &str, price: &Value) -> Value {
    json!({
        "id": id, "object": "subscription_item", "created": now(), "current_period_end": now() + MONTH,
        "current_period_start": now(), "discounts": [], "metadata": {}, "price": price, "quantity": 1,
        // The price as older versions said it, which is still there.
        "plan": {
            "id": price["id"], "object": "plan", "active": true, "amount": 1000,
            "billing_scheme": "per_unit", "created": price["created"], "currency": "usd",
            "interval": "month", "interval_count": 1, "livemode": false, "metadata": {},
            "product": price["product"], "usage_type": "licensed",
        },
        "subscription": subscription, "tax_rates": [],
    })
}
