//! Serves the API: authenticates, repeats and routes its calls.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Uri},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use tokio::{spawn, time::sleep};

use super::{
    Server,
    account::{API_VERSION, Account, Answer},
    failure::Failure,
    idempotency::Before,
    parameters::Parameters,
    respond,
};
use crate::lock;

/// Serves any call below `/v1`. Each response has an id and names the API's version.
pub async fn call(state: State<Arc<Server>>, method: Method, uri: Uri, headers: HeaderMap, body: String) -> Response {
    let id = lock(&state.account).new_id("req");
    let mut response = identified(&id, state, method, uri, headers, body).await;
    let names = [
        (HeaderName::from_static("request-id"), id.as_str()),
        (HeaderName::from_static("stripe-version"), API_VERSION),
    ];
    for (name, value) in names {
        response.headers_mut().extend(HeaderValue::from_str(value).map(|value| (name, value)));
    }
    response
}

async fn identified(
    id: &str,
    State(server): State<Arc<Server>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let key = header("idempotency-key").filter(|_| method == Method::POST);
    let parameters = Parameters::parse(if method == Method::POST { &body } else { uri.query().unwrap_or_default() });
    let path = uri.path();

    let outcome = {
        lock(&server.account).calls.push(json!({
            "method": method.as_str(), "path": path, "parameters": parameters.fingerprint(), "idempotency_key": key,
            "version": header("stripe-version"),
        }));
        if let Err(failure) = authenticate(header("authorization")) {
            return failure.into_response();
        }
        if let Some(key) = key
            && let Before::Answered(answer) = lock(&server.keys).take(key, path, parameters.fingerprint())
        {
            return *answer;
        }
        lock(&server.script).next(&format!("{method} {path}"))
    };
    let answer = if let Some(status) = outcome.status {
        Err(Failure::new(status, "api_error", "The script says so."))
    } else {
        let mut account = lock(&server.account);
        account.cause = Some((id.to_owned(), key.map(str::to_owned)));
        let answer = account.answer(&method, path, &parameters);
        account.cause = None;
        answer
    };
    let (status, body) = answer.map_or_else(|failure| (failure.status, failure.body()), |body| (200, body));
    // The answer is kept also for a caller that does not wait for it.
    let key = key.map(str::to_owned);
    let answered = spawn(async move {
        sleep(Duration::from_millis(outcome.delay_ms.unwrap_or_default())).await;
        if let Some(key) = key {
            lock(&server.keys).keep(&key, status, &body);
        }
        respond(status, body)
    });
    answered.await.unwrap_or_else(|error| respond(500, error.to_string().into()))
}

fn authenticate(header: Option<&str>) -> Result<(), Failure> {
    let basic = |value: &str| {
        let decoded = STANDARD.decode(value.strip_prefix("Basic ")?).ok()?;
        let (user, _) = decoded.split_at(decoded.iter().position(|byte| *byte == b':')?);
        String::from_utf8(user.to_vec()).ok()
    };
    let bearer = |value: &str| value.strip_prefix("Bearer ").map(str::to_owned);
    let Some(key) = header.and_then(|value| bearer(value).or_else(|| basic(value))) else {
        let message = "You did not provide an API key. You need to provide your API key in the Authorization header, \
                       using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').";
        return Err(Failure::new(401, "invalid_request_error", message));
    };
    if !["sk_", "rk_"].iter().any(|prefix| key.starts_with(prefix)) {
        return Err(Failure::new(401, "invalid_request_error", "Invalid API Key provided: it is no secret key."));
    }
    Ok(())
}

impl Account {
    fn answer(&mut self, method: &Method, path: &str, parameters: &Parameters) -> Answer {
        let segments: Vec<_> = path.trim_matches('/').split('/').collect();
        match (method.as_str(), segments.as_slice()) {
            ("GET", ["v1", "customers"]) => self.list_customers(parameters),
            ("POST", ["v1", "customers"]) => self.create_customer(parameters),
            ("GET", ["v1", "customers", id]) => self.retrieve("customer", id, parameters),
            ("DELETE", ["v1", "customers", id]) => self.delete_customer(id),
            ("GET", ["v1", "prices", id]) => self.retrieve("price", id, parameters),
            ("GET", ["v1", "checkout", "sessions"]) => self.list_sessions(parameters),
            ("POST", ["v1", "checkout", "sessions"]) => self.create_session(parameters),
            ("GET", ["v1", "checkout", "sessions", id]) => {
                let session = self.session(id)?;
                self.show(&session, parameters)
            }
            ("POST", ["v1", "checkout", "sessions", id, "expire"]) => self.expire_session(id),
            ("POST", ["v1", "billing_portal", "sessions"]) => self.create_portal(parameters),
            ("GET", ["v1", "subscriptions"]) => self.list_subscriptions(parameters),
            ("POST", ["v1", "subscriptions"]) => self.create_subscription(parameters),
            ("GET", ["v1", "subscriptions", id]) => self.retrieve("subscription", id, parameters),
            ("POST", ["v1", "subscriptions", id]) => self.update_subscription(id, parameters),
            ("DELETE", ["v1", "subscriptions", id]) => self.cancel_subscription(id),
            ("GET", ["v1", "invoices", id]) => self.retrieve("invoice", id, parameters),
            ("GET", ["v1", "events"]) => self.list_events(parameters),
            ("GET", ["v1", "events", id]) => self.retrieve("event", id, parameters),
            _ => {
                let message = format!(
                    "Unrecognized request URL ({method}: {path}). \
                     The stand-in in local/src/stand_ins/stripe has no such call."
                );
                Err(Failure::new(404, "invalid_request_error", &message))
            }
        }
    }

    /// `GET /v1/events`. A type may end in `*`.
    fn list_events(&self, parameters: &Parameters) -> Answer {
        parameters.only_in_list(&["type", "types"])?;
        let mut wanted = parameters.several("types");
        wanted.extend(parameters.get("type"));
        self.list("event", "/v1/events", parameters, |event| {
            let kind = event["type"].as_str().unwrap_or_default();
            let fits = |wanted: &&str| match wanted.strip_suffix('*') {
                Some(start) => kind.starts_with(start),
                None => kind == *wanted,
            };
            wanted.is_empty() || wanted.iter().any(fits)
        })
    }

    fn retrieve(&mut self, object: &str, id: &str, parameters: &Parameters) -> Answer {
        let found = self.find(object, id, "id")?.clone();
        self.show(&found, parameters)
    }
}
