//! Invoices, of which the subscription's state follows: it is past due while the newest one is not paid.

use serde_json::{Value, json};

use super::account::Account;

impl Account {
    /// Makes the invoice of a period.
    pub fn invoice(
        &mut self,
        customer: &str,
        subscription: &str,
        paid: bool,
        finalized_at: i64,
    ) -> Value {
        let id = self.new_id("in");
        self.put(json!({
            "id": id, "object": "invoice", "amount_due": 1000, "amount_paid": if paid { 1000 } else { 0 },
            "amount_remaining": if paid { 0 } else { 1000 }, "amount_overpaid": 0, "amount_shipping": 0,
            "attempt_count": 1, "attempted": true, "automatic_tax": {"enabled": false},
            "billing_reason": "subscription_cycle",
            "collection_method": "charge_automatically", "created": finalized_at, "currency": "usd",
            "customer": customer, "default_tax_rates": [], "discounts": [], "issuer": {"type": "self"},
            "lines": {
                "object": "list", "data": [], "has_more": false, "total_count": 0,
                "url": format!("/v1/invoices/{id}/lines"),
            },
            "livemode": false, "metadata": {},
            "parent": {
                "type": "subscription_details", "quote_details": null,
                "subscription_details": {"subscription": subscription, "metadata": {}},
            },
            "payment_settings": {}, "period_end": finalized_at, "period_start": finalized_at,
            "post_payment_credit_notes_amount": 0, "pre_payment_credit_notes_amount": 0, "starting_balance": 0,
            "status": if paid { "paid" } else { "open" },
            "status_transitions": {
                "finalized_at": finalized_at, "marked_uncollectible_at": null,
                "paid_at": paid.then_some(finalized_at), "voided_at": null,
            },
            "subtotal": 1000, "total": 1000,
        }))
    }
}
