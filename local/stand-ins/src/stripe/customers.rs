//! Makes, lists and deletes customers.

use serde_json::json;

use super::{
    account::{Account, Answer, now, with_nulls},
    parameters::Parameters,
};

impl Account {
    /// `POST /v1/customers`.
    pub fn create_customer(&mut self, parameters: &Parameters) -> Answer {
        parameters.only(&["description", "email", "metadata", "name", "phone"])?;
        let id = self.new_id("cus");
        let customer = json!({
            "id": id, "object": "customer", "balance": 0, "created": now(), "delinquent": false,
            "description": parameters.get("description"),
            "email": parameters.get("email"), "invoice_prefix": id.to_uppercase(),
            "invoice_settings": {
                "custom_fields": null, "default_payment_method": null, "footer": null, "rendering_options": null,
            },
            "livemode": false, "next_invoice_sequence": 1,
            "metadata": parameters.metadata("metadata"), "name": parameters.get("name"),
            "phone": parameters.get("phone"), "preferred_locales": [], "tax_exempt": "none",
        });
        let nulls = "address currency default_source discount shipping test_clock";
        Ok(self.put(with_nulls(customer, nulls)))
    }

    /// `DELETE /v1/customers/{id}`: ends every subscription at once, for good.
    pub fn delete_customer(&mut self, id: &str) -> Answer {
        let customer = self.customer(id, "id")?.clone();
        let living: Vec<_> = self
            .all("subscription")
            .into_iter()
            .filter(|found| found["customer"] == id && found["status"] != "canceled")
            .filter_map(|found| found["id"].as_str().map(str::to_owned))
            .collect();
        for subscription in living {
            self.cancel_subscription(&subscription)?;
        }
        self.emit("customer.deleted", &customer);
        Ok(self.put(json!({"id": id, "object": "customer", "deleted": true})))
    }

    /// `GET /v1/customers`.
    pub fn list_customers(&self, parameters: &Parameters) -> Answer {
        parameters.only_in_list(&["email"])?;
        let email = parameters.get("email");
        self.list("customer", "/v1/customers", parameters, |found| {
            found["deleted"] != true && email.is_none_or(|email| found["email"] == email)
        })
    }
}
