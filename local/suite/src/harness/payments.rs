//! Pays as a user does, and reads the plan.

use reqwest::Method;
use serde_json::{Value, json};

use super::{User, eventually, text};

impl User<'_> {
    /// Returns the plan and the subscription as the API tells them.
    pub async fn status(&self) -> Value {
        self.call(Method::GET, "/subscription/status", 200).await
    }

    /// Opens a payment page.
    pub async fn subscribe(&self) -> Value {
        self.call(Method::POST, "/subscribe/pro", 200).await
    }

    /// Pays on the page, as its button does.
    pub async fn pay(&self, page: &Value) {
        let path = format!("/_pay/{}", text(&page["session_id"]));
        let request = self.api.stripe(Method::POST, &path);
        self.api.ask_stripe(request).await;
    }

    /// Subscribes and pays, and returns the subscription's id.
    pub async fn become_pro(&self) -> String {
        let page = self.subscribe().await;
        self.pay(&page).await;
        self.subscription_of(&page).await
    }

    /// Returns the subscription that was bought on a page.
    pub async fn subscription_of(&self, page: &Value) -> String {
        let path = format!("/v1/checkout/sessions/{}", text(&page["session_id"]));
        let session = self.api.get_stripe(&path).await;
        text(&session["subscription"]).to_owned()
    }

    /// Returns the user's customer at Stripe.
    pub async fn customer(&self) -> String {
        let sql = "select stripe_customer_id from subscriptions where user_id";
        self.api.value(&format!("{sql} = '{}'", self.id)).await
    }

    /// Counts the user's customers and payment pages at Stripe.
    pub async fn made(&self) -> (usize, usize) {
        let count = async |path: &str, member: &str| {
            let page = self.api.get_stripe(&format!("{path}?limit=100")).await;
            let all = page["data"].as_array().into_iter().flatten();
            all.filter(|object| object.pointer(member) == Some(&json!(self.id))).count()
        };
        (
            count("/v1/customers", "/metadata/user_id").await,
            count("/v1/checkout/sessions", "/client_reference_id").await,
        )
    }

    /// Waits until the user has a plan, and returns the status.
    pub async fn becomes(&self, plan: &str) -> Value {
        eventually(&format!("{} is {plan}", self.mobile), async || {
            let status = self.status().await;
            (status["plan"] == plan).then_some(status)
        })
        .await
    }
}
