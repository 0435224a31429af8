//! Shows the pages that people see: payment and portal, as plain forms that a browser and curl can send.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::{Html, Redirect},
};
use serde_json::Value;

use super::{Server, account::Account, failure::Failure, subscriptions::Change};
use crate::lock;

type Shared = State<Arc<Server>>;

fn page(title: &str, content: &str) -> Html<String> {
    Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <style>body {{ font: 16px sans-serif; margin: 4em auto; max-width: 30em }} form {{ display: inline }}</style>\
         <h1>{title}</h1><p><small>A stand-in for Stripe. No money moves.</small></p>{content}</html>\n"
    ))
}

fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

fn button(action: &str, label: &str) -> String {
    format!("<form method=\"post\" action=\"{}\"><button>{label}</button></form> ", escape(action))
}

fn link(url: &Value, label: &str) -> String {
    let url = url.as_str().map(escape);
    url.map(|url| format!("<p><a href=\"{url}\">{label}</a></p>")).unwrap_or_default()
}

/// `GET /checkout/{session}`: the payment page.
pub async fn checkout(State(server): Shared, Path(id): Path<String>) -> Result<Html<String>, Failure> {
    let session = lock(&server.account).session(&id)?;
    let content = match session["status"].as_str() {
        Some("open") => {
            let pay = button(&format!("/_pay/{id}"), "Pay");
            format!("<p>Pro, $10.00 a month.</p>{pay}{}", link(&session["cancel_url"], "Back"))
        }
        Some("complete") => "<p>You have paid already.</p>".to_owned(),
        _ => "<p>This page has expired.</p>".to_owned(),
    };
    Ok(page("Subscribe to Pro", &content))
}

/// `POST /_pay/{session}`: pays, and goes on to the success URL once the events are delivered.
pub async fn pay(State(server): Shared, Path(id): Path<String>) -> Result<Redirect, Failure> {
    let session = server.and_deliver(|account| account.pay(&id)).await?;
    let url = session["success_url"].as_str().unwrap_or_default();
    Ok(Redirect::to(&url.replace("{CHECKOUT_SESSION_ID}", &id)))
}

/// `GET /portal/{session}`: the customer's subscriptions.
pub async fn portal(State(server): Shared, Path(id): Path<String>) -> Result<Html<String>, Failure> {
    let mut account = lock(&server.account);
    let portal = account.find("billing_portal.session", &id, "id")?.clone();
    let rows: String =
        subscriptions(&account, &portal["customer"]).map(|subscription| row(&id, subscription)).collect();
    let back = link(&portal["return_url"], "Back");
    Ok(page("Your subscriptions", &format!("{rows}{back}")))
}

fn subscriptions<'a>(account: &'a Account, customer: &'a Value) -> impl Iterator<Item = &'a Value> {
    let all = account.all("subscription").into_iter();
    all.filter(move |subscription| subscription["customer"] == *customer)
}

fn row(portal: &str, subscription: &Value) -> String {
    let text = |name: &str| subscription[name].as_str().unwrap_or_default();
    let action = |verb: &str| format!("/portal/{portal}/{}/{verb}", text("id"));
    let ends = subscription["cancel_at_period_end"] == true;
    let buttons = match text("status") {
        "canceled" => String::new(),
        _ if ends => format!("ends with its period {}", button(&action("resume"), "Resume")),
        _ => button(&action("cancel"), "Cancel"),
    };
    format!("<p>{}: {} {buttons}</p>", escape(text("id")), escape(text("status")))
}

/// `POST /portal/{session}/{subscription}/{verb}`: cancels at the end of the period, or resumes.
pub async fn press(
    State(server): Shared,
    Path((id, subscription, verb)): Path<(String, String, String)>,
) -> Result<Redirect, Failure> {
    let cancel_at_period_end = match verb.as_str() {
        "cancel" => Some(true),
        "resume" => Some(false),
        _ => return Err(Failure::missing("button", &verb, "id")),
    };
    let change = Change { cancel_at_period_end, ..Change::default() };
    let press = |account: &mut Account| {
        let portal = account.find("billing_portal.session", &id, "id")?.clone();
        let found = account.find("subscription", &subscription, "id")?;
        if found["customer"] != portal["customer"] {
            return Err(Failure::missing("subscription", &subscription, "id"));
        }
        account.change_subscription(&subscription, &change)
    };
    server.and_deliver(press).await?;
    Ok(Redirect::to(&format!("/portal/{id}")))
}

/// `GET /returned`: the page that others lead back to when the environment names none.
pub async fn returned() -> Html<String> {
    page("Back at the app", "<p>Here the app would go on.</p>")
}
