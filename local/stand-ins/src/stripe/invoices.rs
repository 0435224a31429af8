//! Makes invoices. The subscription's status follows from them: it is past due while the newest one is not paid.

use serde_json::{Value, json};

use super::account::{Account, with_nulls};

/// Members that are always null here.
const NULLS: &str = "
    account_name account_tax_ids application automatically_finalizes_at custom_fields customer_account
    customer_address customer_email customer_name customer_phone customer_shipping default_payment_method
    default_source description due_date ending_balance footer from_invoice hosted_invoice_url invoice_pdf
    last_finalization_error latest_revision next_payment_attempt number on_behalf_of receipt_number rendering
    shipping_cost shipping_details statement_descriptor test_clock";

impl Account {
    /// Makes the invoice of a period.
    pub fn invoice(
        &mut self,
        customer: &str,
        subscription: &str,
        paid: bool,
        reason: &str,
        finalized_at: i64,
    ) -> Value {
        let id = self.new_id("in");
        let mut invoice = json!({
            "id": id, "object": "invoice", "account_country": "US", "auto_advance": false,
            "customer_tax_exempt": "none", "customer_tax_ids": [], "effective_at": finalized_at, "amount_due": 1000,
            "amount_paid": if paid { 1000 } else { 0 },
            "amount_remaining": if paid { 0 } else { 1000 }, "amount_overpaid": 0, "amount_shipping": 0,
            "attempt_count": 1, "attempted": true,
            "billing_reason": reason,
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
            "period_end": finalized_at, "period_start": finalized_at,
            "post_payment_credit_notes_amount": 0, "pre_payment_credit_notes_amount": 0, "starting_balance": 0,
            "status": if paid { "paid" } else { "open" },
            "status_transitions": {
                "finalized_at": finalized_at, "marked_uncollectible_at": null,
                "paid_at": paid.then_some(finalized_at), "voided_at": null,
            },
            "subtotal": 1000, "subtotal_excluding_tax": 1000, "total": 1000, "total_discount_amounts": [],
            "total_excluding_tax": 1000, "total_pretax_credit_amounts": [], "total_taxes": [],
            "webhooks_delivered_at": finalized_at,
        });
        invoice["automatic_tax"] = json!({
            "disabled_reason": null, "enabled": false, "liability": null, "provider": null, "status": null,
        });
        invoice["payment_settings"] = json!({
            "default_mandate": null, "payment_method_options": null, "payment_method_types": null,
        });
        self.put(with_nulls(invoice, NULLS))
    }
}
