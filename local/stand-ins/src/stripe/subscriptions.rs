//! Makes, changes and ends subscriptions and their invoices, with the events that Stripe sends about them.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    account::{Account, Answer, now, with_nulls},
    failure::Failure,
    parameters::Parameters,
};

/// The billing reason of every invoice after the first.
const CYCLE: &str = "subscription_cycle";

/// Members of a subscription that are null at first.
const NULLS: &str = "
    application application_fee_percent billing_cycle_anchor_config billing_thresholds cancel_at canceled_at
    customer_account days_until_due default_payment_method default_source description ended_at
    next_pending_invoice_item_invoice on_behalf_of pause_collection pending_invoice_item_interval
    pending_setup_intent pending_update schedule test_clock transfer_data trial_end trial_start";

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

const STATUSES: [&str; 8] =
    ["active", "trialing", "past_due", "unpaid", "paused", "incomplete", "incomplete_expired", "canceled"];

impl Account {
    /// Starts a subscription that is paid.
    pub fn start_subscription(&mut self, customer: &str, price: &str, metadata: &Value) -> Answer {
        let price = self.find("price", price, "items[0][price]")?.clone();
        let (id, item) = (self.new_id("sub"), self.new_id("si"));
        let item = self::item(&item, &id, &price);
        let invoice = self.invoice(customer, &id, true, "subscription_create", now());
        let subscription = json!({
            "id": id, "object": "subscription",
            "automatic_tax": {"enabled": false, "disabled_reason": null, "liability": null},
            "billing_schedules": [], "billing_cycle_anchor": now(),
            "billing_mode": {"flexible": null, "type": "classic"},

            "cancel_at_period_end": false, "default_tax_rates": [],
            "cancellation_details": {"comment": null, "feedback": null, "reason": null},
            "collection_method": "charge_automatically", "created": now(), "currency": "usd", "customer": customer,
            "discounts": [],
            "invoice_settings": {
                "account_tax_ids": null, "custom_fields": null, "description": null, "footer": null,
                "issuer": {"type": "self"},
            },
            "items": {
                "object": "list", "has_more": false, "total_count": 1,
                "url": format!("/v1/subscription_items?subscription={id}"),
                "data": [item],
            },
            "latest_invoice": invoice["id"], "livemode": false, "metadata": metadata,
            "managed_payments": {"enabled": false},
            "payment_settings": {
                "payment_method_options": null, "payment_method_types": null,
                "save_default_payment_method": "off",
            },
            "start_date": now(), "status": "active",
            "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        });
        let subscription = self.put(with_nulls(subscription, NULLS));
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
        let subscription = self.start_subscription(customer, price, &parameters.metadata("metadata"))?;
        self.show(&subscription, parameters)
    }

    /// `GET /v1/subscriptions`.
    pub fn list_subscriptions(&mut self, parameters: &Parameters) -> Answer {
        parameters.only_in_list(&["customer", "status", "price"])?;
        let customer = parameters.get("customer");
        if let Some(customer) = customer {
            self.customer(customer, "customer")?;
        }
        let (status, price) = (parameters.get("status"), parameters.get("price"));
        self.list("subscription", "/v1/subscriptions", parameters, |found| {
            let right_status = match status {
                None => found["status"] != "canceled",
                Some("all") => true,
                Some("ended") => ["canceled", "incomplete_expired"].iter().any(|ended| found["status"] == *ended),
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
        let subscription = self.change_subscription(id, &Change { cancel_at_period_end, ..Change::default() })?;
        self.show(&subscription, parameters)
    }

    /// `DELETE /v1/subscriptions/{id}`: ends it now. One that has ended is not there any more.
    pub fn cancel_subscription(&mut self, id: &str) -> Answer {
        if self.find("subscription", id, "id")?["status"] == "canceled" {
            return Err(Failure::missing("subscription", id, "id"));
        }
        self.change_subscription(id, &Change { status: Some("canceled".into()), ..Change::default() })
    }

    /// Changes a subscription and emits the events that Stripe would.
    pub fn change_subscription(&mut self, id: &str, change: &Change) -> Answer {
        let before = self.find("subscription", id, "id")?.clone();
        if before["status"] == "canceled" {
            let message = "A canceled subscription can only update its cancellation_details and metadata.";
            return Err(Failure::new(400, "invalid_request_error", message));
        }
        let status = change.status.as_deref().or(before["status"].as_str()).unwrap_or_default().to_owned();
        if !STATUSES.contains(&status.as_str()) {
            return Err(Failure::invalid("status", &format!("Invalid status: one of {}", STATUSES.join(", "))));
        }
        let customer = before["customer"].as_str().unwrap_or_default().to_owned();
        let invoice = match (status.as_str(), before["status"].as_str()) {
            ("past_due", _) => {
                let since = change.unpaid_since.unwrap_or_else(now);
                Some(("invoice.payment_failed", self.invoice(&customer, id, false, CYCLE, since)))
            }
            ("active", Some("past_due" | "unpaid")) => {
                Some(("invoice.paid", self.invoice(&customer, id, true, CYCLE, now())))
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
        if ended {
            self.emit("customer.subscription.deleted", &subscription);
        } else {
            self.emit_update("customer.subscription.updated", &subscription, &before);
        }
        Ok(subscription)
    }
}

/// Makes a subscription's item. Its period is the subscription's.
fn item(id: &str, subscription: &str, price: &Value) -> Value {
    json!({
        "id": id, "object": "subscription_item", "billing_thresholds": null, "created": now(),
        "current_period_end": now() + MONTH,
        "current_period_start": now(), "discounts": [], "metadata": {}, "price": price, "quantity": 1,
        // The price as older versions said it, which is still there.
        "plan": {
            "id": price["id"], "object": "plan", "active": true, "amount": 1000, "amount_decimal": "1000",
            "billing_scheme": "per_unit", "created": price["created"], "currency": "usd",
            "interval": "month", "interval_count": 1, "livemode": false, "metadata": {},
            "meter": null, "nickname": price["nickname"], "product": price["product"], "tiers_mode": null,
            "transform_usage": null, "trial_period_days": null, "usage_type": "licensed",
        },
        "subscription": subscription, "tax_rates": [],
    })
}
