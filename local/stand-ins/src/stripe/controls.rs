//! Controls what the real Stripe has no API for: paying, time going by, and the fate of deliveries.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Server, deliveries::is_success, failure::Failure, script::Outcome, subscriptions::Change};
use crate::lock;

type Shared = State<Arc<Server>>;
type Input<T> = Result<Json<T>, JsonRejection>;

fn input<T>(body: Input<T>) -> Result<T, Failure> {
    match body {
        Ok(Json(body)) => Ok(body),
        Err(error) => Err(Failure::new(400, "invalid_request_error", &error.body_text())),
    }
}

/// `POST /_subscriptions/{id}`: changes it and emits the events.
pub async fn change_subscription(
    State(server): Shared,
    Path(id): Path<String>,
    change: Input<Change>,
) -> Result<Json<Value>, Failure> {
    let change = input(change)?;
    server.and_deliver(|account| account.change_subscription(&id, &change)).await.map(Json)
}

/// `GET /_events`: every event with the statuses of its deliveries, oldest first.
pub async fn events(State(server): Shared) -> Json<Vec<Value>> {
    let events = lock(&server.account).events.clone();
    let told = events.into_iter().map(|(id, payload)| {
        let event: Value = serde_json::from_str(&payload).unwrap_or_default();
        json!({
            "id": id, "type": event["type"], "deliveries": server.deliveries.attempts(&id), "event": event,
        })
    });
    Json(told.collect())
}

/// `POST /_events/{id}/send`: delivers it once more and returns the response's status.
pub async fn send_event(State(server): Shared, Path(id): Path<String>) -> Result<Json<Value>, Failure> {
    let payload = server.payload(&id).ok_or_else(|| Failure::missing("event", &id, "id"))?;
    let status = server.deliveries.attempt(&id, payload).await;
    Ok(Json(json!({ "id": id, "status": status })))
}

/// `POST /_hold`: from now on events wait.
pub async fn hold(State(server): Shared) -> StatusCode {
    lock(&server.account).held.get_or_insert_default();
    StatusCode::NO_CONTENT
}

/// Which events to deliver, in which order.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Their ids, some perhaps more than once. Held events that are not among them are lost.
    order: Option<Vec<String>>,
}

/// `POST /_release`: delivers held events, one after the other, and returns the responses' statuses. A failed delivery
/// is repeated later, as ever.
pub async fn release(State(server): Shared, body: String) -> Result<Json<Vec<Value>>, Failure> {
    let body = if body.is_empty() { "{}" } else { &body };
    let release: Release =
        serde_json::from_str(body).map_err(|error| Failure::new(400, "invalid_request_error", &error.to_string()))?;
    let held = lock(&server.account).held.take().unwrap_or_default();
    let mut answered = Vec::new();
    for id in release.order.unwrap_or(held) {
        let payload = server.payload(&id).ok_or_else(|| Failure::missing("event", &id, "order"))?;
        let status = server.deliveries.attempt(&id, payload).await;
        if !is_success(status) {
            lock(&server.account).deliver(id.clone());
        }
        answered.push(json!({ "id": id, "status": status }));
    }
    Ok(Json(answered))
}

/// `GET /_calls`: the calls of the API, oldest first.
pub async fn calls(State(server): Shared) -> Json<Vec<Value>> {
    Json(lock(&server.account).calls.clone())
}

/// `DELETE /_calls`: forgets them.
pub async fn forget_calls(State(server): Shared) -> StatusCode {
    lock(&server.account).calls.clear();
    StatusCode::NO_CONTENT
}

/// `POST /_script`: adds outcomes of the next calls.
pub async fn extend_script(State(server): Shared, outcomes: Input<Vec<Outcome>>) -> Result<StatusCode, Failure> {
    lock(&server.script).0.extend(input(outcomes)?);
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /_script`: forgets them.
pub async fn forget_script(State(server): Shared) -> StatusCode {
    lock(&server.script).0.clear();
    StatusCode::NO_CONTENT
}
