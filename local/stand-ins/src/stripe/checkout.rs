//! Makes, pays and expires checkout sessions, and makes portal sessions.

use reqwest::Url;
use serde_json::{Value, json};

use super::{
    account::{Account, Answer, now, with_nulls},
    failure::Failure,
    parameters::Parameters,
};

/// Members of a session that are null at first.
const NULLS: &str = "
    after_expiration allow_promotion_codes billing_address_collection client_secret collected_information consent
    consent_collection currency_conversion customer_account customer_creation customer_email
    integration_identifier invoice invoice_creation locale origin_context payment_intent payment_link
    payment_method_configuration_details permissions recovered_from setup_intent shipping_address_collection
    shipping_cost submit_type subscription wallet_options";

const DAY: i64 = 24 * 60 * 60;

impl Account {
    /// `POST /v1/checkout/sessions`, for subscriptions.
    pub fn create_session(&mut self, parameters: &Parameters) -> Answer {
        parameters.only(&[
            "cancel_url",
            "client_reference_id",
            "customer",
            "expires_at",
            "line_items",
            "metadata",
            "mode",
            "subscription_data",
            "success_url",
        ])?;
        if parameters.required("mode")? != "subscription" {
            return Err(Failure::invalid("mode", "The stand-in sells subscriptions only."));
        }
        let customer = parameters.required("customer")?;
        self.customer(customer, "customer")?;
        let price = parameters.required("line_items[0][price]")?;
        self.find("price", price, "line_items[0][price]")?;
        let quantity = parameters.required("line_items[0][quantity]")?;
        if quantity.parse() != Ok(1) {
            let message = "Invalid integer, or the stand-in sells one of each only.";
            return Err(Failure::invalid("line_items[0][quantity]", message));
        }
        let success_url = url(parameters, "success_url")?.to_owned();
        let expires_at = match parameters.get("expires_at").map_or(Ok(now() + DAY), str::parse) {
            Ok(at) if (now() + DAY / 48..=now() + DAY).contains(&at) => at,
            _ => {
                return Err(Failure::invalid("expires_at", "It must be 30 minutes to 24 hours from now."));
            }
        };
        let id = self.new_id("cs_test");
        let url = format!("{}/checkout/{id}", self.url);
        let cart = (price.to_owned(), parameters.metadata("subscription_data[metadata]"));
        self.carts.insert(id.clone(), cart);
        let session = json!({
            "id": id, "object": "checkout.session", "adaptive_pricing": {"enabled": false}, "amount_subtotal": 1000,
            "amount_total": 1000,
            "automatic_tax": {"enabled": false, "liability": null, "provider": null, "status": null},
            "cancel_url": parameters.get("cancel_url"),
            "client_reference_id": parameters.get("client_reference_id"), "created": now(), "currency": "usd",
            "customer": customer,
            "customer_details": {
                "address": null, "business_name": null, "email": null, "individual_name": null, "name": null,
                "phone": null, "tax_exempt": "none", "tax_ids": null,
            },
            "discounts": [], "expires_at": expires_at, "managed_payments": {"enabled": false},
            "livemode": false, "metadata": parameters.metadata("metadata"), "mode": "subscription",
            "custom_fields": [], "custom_text": {
                "after_submit": null, "shipping_address": null, "submit": null,
                "terms_of_service_acceptance": null,
            },
            "payment_method_collection": "always", "payment_method_options": {},
            "phone_number_collection": {"enabled": false}, "shipping_options": [],
            "saved_payment_method_options": {
                "allow_redisplay_filters": ["always"], "payment_method_remove": null, "payment_method_save": null,
            },
            "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
            "payment_method_types": ["card"], "payment_status": "unpaid",
            "status": "open", "success_url": success_url, "ui_mode": "hosted_page", "url": url,
        });
        Ok(self.put(with_nulls(session, NULLS)))
    }

    /// Returns a session as it is now: one that nobody paid in time has expired.
    pub fn session(&mut self, id: &str) -> Answer {
        let session = self.find("checkout.session", id, "id")?;
        if session["status"] == "open" && session["expires_at"].as_i64() < Some(now()) {
            return self.end_session(id, "expired");
        }
        Ok(session.clone())
    }

    /// `GET /v1/checkout/sessions`.
    pub fn list_sessions(&mut self, parameters: &Parameters) -> Answer {
        parameters.only_in_list(&["customer", "status", "subscription"])?;
        let filters = ["customer", "status", "subscription"].map(|name| (name, parameters.get(name)));
        self.list("checkout.session", "/v1/checkout/sessions", parameters, |found| {
            filters.iter().all(|(name, wanted)| wanted.is_none_or(|wanted| found[*name] == wanted))
        })
    }

    fn end_session(&mut self, id: &str, status: &str) -> Answer {
        let session = self.find("checkout.session", id, "id")?;
        session["status"] = status.into();
        session["url"] = Value::Null;
        let session = session.clone();
        let kind = if status == "complete" { "completed" } else { status };
        self.emit(&format!("checkout.session.{kind}"), &session);
        Ok(session)
    }

    /// `POST /v1/checkout/sessions/{id}/expire`.
    pub fn expire_session(&mut self, id: &str) -> Answer {
        self.open_session(id)?;
        self.end_session(id, "expired")
    }

    fn open_session(&mut self, id: &str) -> Answer {
        let session = self.session(id)?;
        if session["status"] != "open" {
            let message = format!(
                "This Session is not in an expireable state: it has a status of {} instead of open.",
                session["status"]
            );
            return Err(Failure::new(400, "invalid_request_error", &message));
        }
        Ok(session)
    }

    /// Pays for a session.
    pub fn pay(&mut self, id: &str) -> Answer {
        let session = self.open_session(id)?;
        let customer = session["customer"].as_str().unwrap_or_default();
        self.customer(customer, "customer")?;
        let (price, metadata) = self.carts[id].clone();
        let subscription = self.start_subscription(customer, &price, &metadata)?;
        let session = self.find("checkout.session", id, "id")?;
        session["payment_status"] = "paid".into();
        session["subscription"] = subscription["id"].clone();
        session["invoice"] = subscription["latest_invoice"].clone();
        self.end_session(id, "complete")
    }

    /// `POST /v1/billing_portal/sessions`.
    pub fn create_portal(&mut self, parameters: &Parameters) -> Answer {
        parameters.only(&["customer", "return_url"])?;
        let customer = parameters.required("customer")?;
        self.customer(customer, "customer")?;
        let id = self.new_id("bps");
        let url = format!("{}/portal/{id}", self.url);
        Ok(self.put(json!({
            "id": id, "object": "billing_portal.session", "configuration": "bpc_default", "created": now(),
            "customer": customer, "customer_account": null, "flow": null, "livemode": false, "locale": null,
            "on_behalf_of": null,
            "return_url": parameters.get("return_url"), "url": url,
        })))
    }
}

/// Reads a required parameter that must be an address of the web.
fn url<'a>(parameters: &'a Parameters, name: &str) -> Result<&'a str, Failure> {
    let given = parameters.required(name)?;
    match Url::parse(given) {
        Ok(url) if ["http", "https"].contains(&url.scheme()) => Ok(given),
        _ => Err(Failure::invalid(name, "Not a valid URL").code("url_invalid")),
    }
}
