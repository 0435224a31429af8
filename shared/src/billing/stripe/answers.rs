//! What is read of Stripe's answers, and what it means.

use miniserde::Deserialize;
use time::OffsetDateTime;

use crate::billing::{CheckoutSession, Subscription};

/// An object of which only the id matters.
#[derive(Deserialize)]
pub(super) struct Named {
    pub id: String,
}

#[derive(Deserialize)]
pub(super) struct Customer {
    pub deleted: Option<bool>,
}

#[derive(Deserialize)]
pub(super) struct Link {
    pub url: String,
}

#[derive(Deserialize)]
pub(super) struct Session {
    pub id: String,
    pub status: Option<String>,
    pub url: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Page<T> {
    pub data: Vec<T>,
}

#[derive(Deserialize)]
pub(super) struct Listed {
    pub id: String,
    pub status: String,
    pub created: i64,
    pub cancel_at: Option<i64>,
    pub cancel_at_period_end: bool,
    pub items: Page<Item>,
    pub latest_invoice: Option<Invoice>,
}

#[derive(Deserialize)]
pub(super) struct Item {
    pub current_period_end: Option<i64>,
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

impl From<Session> for CheckoutSession {
    fn from(session: Session) -> Self {
        let is_open = session.status.as_deref() == Some("open");
        Self {
            id: session.id,
            url: session.url.filter(|_| is_open),
        }
    }
}

impl Listed {
    /// The better, the higher; among equals the newest.
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

    /// Stripe's portal sets the flag, or the date of the end, depending on how the account is billed.
    fn ends_with_period(&self) -> bool {
        self.cancel_at_period_end
            || self.cancel_at.is_some_and(|cancelled| {
                self.current_period_end().is_none_or(|end| cancelled <= end)
            })
    }
}

impl From<Listed> for Subscription {
    fn from(listed: Listed) -> Self {
        // A subscription is past due when its newest finalised invoice is not paid
        // (https://docs.stripe.com/billing/subscriptions/overview#subscription-statuses).
        let unpaid = listed.latest_invoice.as_ref();
        let finalized_at =
            unpaid.and_then(|invoice| invoice.status_transitions.as_ref()?.finalized_at);
        Self {
            current_period_end: listed.current_period_end().and_then(instant),
            cancel_at_period_end: listed.ends_with_period(),
            past_due_since: finalized_at
                .filter(|_| listed.status == "past_due")
                .and_then(instant),
            id: listed.id,
            status: listed.status,
        }
    }
}
