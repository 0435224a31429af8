//! Parses the used fields of Stripe's responses, and ranks subscriptions.

use std::fmt::{self, Display, Formatter};

use ::stripe::{ApiErrorsCode, ApiErrorsType};
use miniserde::Deserialize;
use time::OffsetDateTime;

use crate::billing::{CheckoutSession, ProPrices, Subscription};

/// The body of an error response.
#[derive(Deserialize)]
pub(super) struct Refusal {
    pub error: ApiError,
}

#[derive(Debug, Deserialize)]
pub(super) struct ApiError {
    #[serde(rename = "type")]
    pub type_: ApiErrorsType,
    pub code: Option<ApiErrorsCode>,
    pub message: Option<String>,
    pub request_log_url: Option<String>,
}

impl Display for ApiError {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{}", self.type_)?;
        if let Some(code) = &self.code {
            write!(f, ", {code}")?;
        }
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        if let Some(url) = &self.request_log_url {
            write!(f, " (see {url})")?;
        }
        Ok(())
    }
}

/// An object of which only the id matters.
#[derive(Deserialize)]
pub(super) struct ObjectId {
    pub id: String,
}

#[derive(Deserialize)]
pub(super) struct Customer {
    pub deleted: Option<bool>,
}

#[derive(Deserialize)]
pub(super) struct PortalSession {
    pub url: String,
}

#[derive(Deserialize)]
pub(super) struct RetrievedCheckout {
    pub id: String,
    pub status: Option<String>,
    pub url: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct List<T> {
    pub data: Vec<T>,
}

#[derive(Deserialize)]
pub(super) struct ListedSubscription {
    pub id: String,
    pub status: String,
    pub created: i64,
    pub cancel_at: Option<i64>,
    pub cancel_at_period_end: bool,
    pub items: List<Item>,
    pub latest_invoice: Option<Invoice>,
}

#[derive(Deserialize)]
pub(super) struct Item {
    pub current_period_end: Option<i64>,
    pub price: Option<Price>,
}

#[derive(Deserialize)]
pub(super) struct Price {
    pub id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Invoice {
    pub status_transitions: Option<Transitions>,
}

#[derive(Deserialize)]
pub(super) struct Transitions {
    pub finalized_at: Option<i64>,
}

fn instant(seconds: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(seconds).ok()
}

impl From<RetrievedCheckout> for CheckoutSession {
    fn from(session: RetrievedCheckout) -> Self {
        let is_open = session.status.as_deref() == Some("open");
        Self { id: session.id, url: session.url.filter(|_| is_open) }
    }
}

impl ListedSubscription {
    /// Returns whether one of its items has one of these prices.
    pub fn is_for(&self, prices: &ProPrices) -> bool {
        let paid = self.items.data.iter().filter_map(|item| item.price.as_ref());
        paid.filter_map(|price| price.id.as_deref()).any(|price| prices.contain(price))
    }

    /// Ranks it: paid above unpaid, unpaid above ended, and among equals the newest highest.
    pub fn rank(&self) -> (u8, i64) {
        let rank = match self.status.as_str() {
            "active" | "trialing" => 3,
            "past_due" => 2,
            "canceled" | "incomplete_expired" => 0,
            _ => 1,
        };
        (rank, self.created)
    }

    fn current_period_end(&self) -> Option<i64> {
        let items = self.items.data.iter();
        items.filter_map(|item| item.current_period_end).max()
    }

    /// Returns whether it ends with its period: Stripe's portal sets the flag or the date, depending on the account's
    /// billing.
    fn ends_with_period(&self) -> bool {
        self.cancel_at_period_end
            || self.cancel_at.is_some_and(|cancelled| self.current_period_end().is_none_or(|end| cancelled <= end))
    }
}

impl From<ListedSubscription> for Subscription {
    fn from(listed: ListedSubscription) -> Self {
        // A subscription is past due when its newest finalised invoice is not paid
        // (https://docs.stripe.com/billing/subscriptions/overview#subscription-statuses).
        let unpaid = listed.latest_invoice.as_ref();
        let finalized_at = unpaid.and_then(|invoice| invoice.status_transitions.as_ref()?.finalized_at);
        Self {
            current_period_end: listed.current_period_end().and_then(instant),
            cancel_at_period_end: listed.ends_with_period(),
            past_due_since: finalized_at.filter(|_| listed.status == "past_due").and_then(instant),
            id: listed.id,
            status: listed.status,
        }
    }
}

#[cfg(test)]
mod tests {
    //! Tests the choice among subscriptions, and the reading of errors.

    use miniserde::json;

    use super::*;

    /// Returns a subscription as Stripe lists it, with more than is read here.
    fn listed(status: &str, created: i64, more: &str) -> ListedSubscription {
        let text = format!(
            r#"{{"id": "sub_{created}", "object": "subscription", "status": "{status}", "created": {created},
                "items": {{"data": [{{"current_period_end": 100}}, {{"current_period_end": 200}}, {{"price": {{}}}}]}},
                "new": [{{"in": "2031"}}], {more}}}"#
        );
        json::from_str(&text).unwrap()
    }

    #[test]
    fn the_best_one_is_one_that_is_paid_and_among_those_the_newest() {
        let statuses =
            ["canceled", "active", "past_due", "trialing", "unpaid", "incomplete_expired", "a word of tomorrow"];
        let mut all: Vec<_> = (1..)
            .zip(statuses)
            .map(|(created, status)| listed(status, created, r#""cancel_at_period_end": false"#))
            .collect();
        all.sort_by_key(ListedSubscription::rank);
        let best_last: Vec<_> = all.iter().map(|one| one.status.as_str()).collect();
        assert_eq!(
            best_last,
            ["canceled", "incomplete_expired", "unpaid", "a word of tomorrow", "past_due", "active", "trialing"]
        );
    }

    #[test]
    fn a_subscription_to_another_price_is_not_pro() {
        let prices = ProPrices(vec!["price_pro".to_owned(), "price_old".to_owned()]);
        for (items, is_pro) in [
            (r#"[{"price": {"id": "price_other"}}, {}]"#, false),
            (r#"[{"price": {}}, {"price": null}]"#, false),
            ("[]", false),
            (r#"[{"price": {"id": "price_other"}}, {"price": {"id": "price_pro"}}]"#, true),
            (r#"[{"price": {"id": "price_old", "object": "price"}}]"#, true),
        ] {
            let text = format!(
                r#"{{"id": "sub_1", "status": "active", "created": 1, "cancel_at_period_end": false,
                    "items": {{"data": {items}}}}}"#
            );
            let listed: ListedSubscription = json::from_str(&text).unwrap();
            assert_eq!(listed.is_for(&prices), is_pro, "{items}");
        }
    }

    #[test]
    fn it_ends_with_its_period_by_the_flag_or_by_the_date() {
        for (more, ends) in [
            (r#""cancel_at_period_end": false"#, false),
            (r#""cancel_at_period_end": false, "cancel_at": null"#, false),
            (r#""cancel_at_period_end": false, "cancel_at": 201"#, false),
            (r#""cancel_at_period_end": false, "cancel_at": 200"#, true),
            (r#""cancel_at_period_end": true"#, true),
        ] {
            let subscription = Subscription::from(listed("active", 1, more));
            assert_eq!(subscription.cancel_at_period_end, ends, "{more}");
            assert_eq!(subscription.current_period_end, instant(200));
        }
    }

    #[test]
    fn it_is_past_due_since_its_invoice_was_finalised() {
        let more = r#""cancel_at_period_end": false,
            "latest_invoice": {"status_transitions": {"finalized_at": 7, "paid_at": null}}"#;
        let since = |status| Subscription::from(listed(status, 1, more)).past_due_since;
        assert_eq!(since("past_due"), instant(7));
        assert_eq!(since("active"), None);
        let draft = r#""cancel_at_period_end": false, "latest_invoice": null"#;
        let subscription = Subscription::from(listed("past_due", 1, draft));
        assert_eq!(subscription.past_due_since, None);
    }

    #[test]
    fn an_error_is_read_whatever_it_is_about() {
        let text = r#"{"error": {"type": "new_error", "code": "new_code", "message": "No such thing",
            "payment_intent": {"object": "of another version"}, "source": 7}}"#;
        let refusal: Refusal = json::from_str(text).unwrap();
        assert_eq!(refusal.error.to_string(), "new_error, new_code: No such thing");
        let bare: Refusal = json::from_str(r#"{"error": {"type": "api_error"}}"#).unwrap();
        assert_eq!(bare.error.type_, ApiErrorsType::ApiError);
        assert_eq!(bare.error.code, None);
    }
}
