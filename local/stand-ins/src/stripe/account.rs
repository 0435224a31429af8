//! Keeps the account: objects in Stripe's form, and the events about them.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};
use tokio::sync::mpsc::UnboundedSender;

use super::{failure::Failure, parameters::Parameters};

/// The version of the API, which is that of the client the functions use.
pub const API_VERSION: &str = "2026-09-30.endive";

/// The result of a call.
pub type Answer = Result<Value, Failure>;

/// An account of Stripe's.
pub struct Account {
    /// Where this stand-in is.
    pub url: String,
    objects: BTreeMap<String, Value>,
    /// The events in their order, each as it was first sent.
    pub events: Vec<(String, String)>,
    /// The calls, in order.
    pub calls: Vec<Value>,
    /// The cart of a checkout session: a price, and the metadata of the subscription.
    pub carts: HashMap<String, (String, Value)>,
    /// While deliveries are held, the ids of the events that wait.
    pub held: Option<Vec<String>>,
    /// The call that events come from: its id and its idempotency key.
    pub cause: Option<(String, Option<String>)>,
    new_events: UnboundedSender<String>,
    count: u32,
}

/// Seconds since 1970.
pub fn now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

impl Account {
    /// Makes an account that sells one price, besides `price_other`, and sends the id of every event.
    pub fn new(url: String, price: &str, new_events: UnboundedSender<String>) -> Self {
        let price_object = |price: &str| {
            json!({
                "id": price, "object": "price", "active": true, "billing_scheme": "per_unit", "created": now(),
                "currency": "usd", "custom_unit_amount": null, "livemode": false, "lookup_key": null, "metadata": {},
                "nickname": "Pro",
                "product": "prod_pro", "recurring": {
                    "interval": "month", "interval_count": 1, "meter": null, "trial_period_days": null,
                    "usage_type": "licensed",
                },
                "tax_behavior": "unspecified", "tiers_mode": null, "transform_quantity": null, "type": "recurring",
                "unit_amount": 1000, "unit_amount_decimal": "1000",
            })
        };
        Self {
            url,
            objects: [price, "price_other"].map(|price| (price.to_owned(), price_object(price))).into(),
            events: Vec::new(),
            calls: Vec::new(),
            carts: HashMap::new(),
            held: None,
            cause: None,
            new_events,
            count: 0,
        }
    }

    /// Makes an id. Later ones sort behind earlier ones.
    pub fn new_id(&mut self, prefix: &str) -> String {
        self.count += 1;
        format!("{prefix}_{:08}", self.count)
    }

    /// Keeps an object under its id.
    pub fn put(&mut self, object: Value) -> Value {
        let id = object["id"].as_str().unwrap_or_default().to_owned();
        self.objects.insert(id, object.clone());
        object
    }

    /// Finds an object of a kind, which the parameter `param` named.
    pub fn find(&mut self, object: &str, id: &str, param: &str) -> Result<&mut Value, Failure> {
        let found = self.objects.get_mut(id).filter(|found| found["object"] == object);
        found.ok_or_else(|| Failure::missing(object, id, param))
    }

    /// Finds a customer that was not deleted.
    pub fn customer(&mut self, id: &str, param: &str) -> Result<&mut Value, Failure> {
        let customer = self.find("customer", id, param)?;
        if customer["deleted"] == true {
            return Err(Failure::missing("customer", id, param));
        }
        Ok(customer)
    }

    /// Lists the objects of a kind, newest first.
    pub fn all(&self, object: &str) -> Vec<&Value> {
        let mut all: Vec<_> = self.objects.values().filter(|found| found["object"] == object).collect();
        all.sort_by_key(|found| std::cmp::Reverse((found["created"].as_i64(), found["id"].as_str())));
        all
    }

    /// Lists a page of the objects that `wanted` picks, of those in `created`, after or before an object.
    pub fn list(&self, object: &str, path: &str, parameters: &Parameters, wanted: impl Fn(&Value) -> bool) -> Answer {
        let mut all = Vec::new();
        for found in self.all(object).into_iter().filter(|found| wanted(found)) {
            if parameters.created(found["created"].as_i64().unwrap_or_default())? {
                all.push(found);
            }
        }
        let limit = parameters.limit()?;
        let place = |name| {
            let place = parameters.get(name).map(|id| {
                let place = all.iter().position(|found| found["id"] == id);
                place.ok_or_else(|| Failure::missing(object, id, name))
            });
            place.transpose()
        };
        let (from, to) = match (place("starting_after")?, place("ending_before")?) {
            (Some(_), Some(_)) => {
                let message = "You cannot parameterize both starting_after and ending_before.";
                return Err(Failure::invalid("starting_after", message));
            }
            (Some(after), None) => (after + 1, all.len().min(after + 1 + limit)),
            (None, Some(before)) => (before.saturating_sub(limit), before),
            (None, None) => (0, all.len().min(limit)),
        };
        let has_more = match parameters.get("ending_before") {
            Some(_) => from > 0,
            None => to < all.len(),
        };
        let mut page = json!({
            "object": "list", "url": path, "has_more": has_more, "data": all[from..to],
        });
        for name in parameters.expand() {
            let Some(member) = name.strip_prefix("data.") else {
                return Err(cannot_expand(name));
            };
            for item in page["data"].as_array_mut().into_iter().flatten() {
                self.expand(item, member)?;
            }
        }
        Ok(page)
    }

    /// Expands an object for a response.
    pub fn show(&self, object: &Value, parameters: &Parameters) -> Answer {
        let mut object = object.clone();
        for name in parameters.expand() {
            self.expand(&mut object, name)?;
        }
        Ok(object)
    }

    fn expand(&self, object: &mut Value, member: &str) -> Result<(), Failure> {
        match object.get_mut(member) {
            Some(Value::Null) => Ok(()),
            Some(id) if id.as_str().is_some_and(|id| self.objects.contains_key(id)) => {
                *id = self.objects[id.as_str().unwrap_or_default()].clone();
                Ok(())
            }
            _ => Err(cannot_expand(member)),
        }
    }

    /// Emits an event about `object`.
    pub fn emit(&mut self, kind: &str, object: &Value) {
        self.emit_data(kind, json!({ "object": object }));
    }

    /// Emits an event about a change of `object`, with its changed members as they were before.
    pub fn emit_update(&mut self, kind: &str, object: &Value, before: &Value) {
        let members = before.as_object().into_iter().flatten();
        let changed = members.filter(|(name, value)| object[name.as_str()] != **value);
        let previous: Map<_, _> = changed.map(|(name, value)| (name.clone(), value.clone())).collect();
        self.emit_data(kind, json!({ "object": object, "previous_attributes": previous }));
    }

    #[expect(clippy::needless_pass_by_value, reason = "the event takes it")]
    fn emit_data(&mut self, kind: &str, data: Value) {
        let id = self.new_id("evt");
        let (request, key) = self.cause.clone().unzip();
        let event = json!({
            "id": id, "object": "event", "api_version": API_VERSION, "created": now(), "data": data,
            "livemode": false, "pending_webhooks": 1,
            "request": { "id": request, "idempotency_key": key.flatten() }, "type": kind,
        });
        self.events.push((id.clone(), event.to_string()));
        self.put(event);
        match &mut self.held {
            Some(held) => held.push(id),
            None => self.deliver(id),
        }
    }

    /// Delivers an event until that succeeds.
    pub fn deliver(&self, id: String) {
        let _ = self.new_events.send(id); // nobody listens any more when the stand-in stops
    }
}

/// Adds members that an object of Stripe's always has, and that are null here.
pub fn with_nulls(mut object: Value, names: &str) -> Value {
    for name in names.split_whitespace() {
        object[name] = Value::Null;
    }
    object
}

fn cannot_expand(name: &str) -> Failure {
    let message = format!("This property cannot be expanded ({name}), or the stand-in does not know it.");
    Failure::invalid("expand", &message)
}
