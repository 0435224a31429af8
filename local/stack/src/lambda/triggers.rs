//! Calls functions as AWS does without a client: the queue's event source mapping and EventBridge's schedules.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    sync::{OwnedRwLockWriteGuard, RwLock, RwLockReadGuard, Semaphore},
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    lambda::{
        api_gateway::Gateway,
        events::{scheduled_event, sqs_event},
        functions::{Catalogue, Trigger, worker},
    },
    services::aws::{Aws, Message},
    settings::Queue,
};

/// The pause before a failed message is seen again. On AWS it is the queue's visibility timeout, too long here.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// `MiniStack` looks for messages only ten times a second during a long poll. So for a while after the last message
/// the queue is asked again and again instead.
const LIVELY: Duration = Duration::from_secs(10);
const LIVELY_PAUSE: Duration = Duration::from_millis(10);
const LONG_POLL: Duration = Duration::from_secs(1);

/// Holds an activity still.
#[derive(Clone, Default)]
pub struct Gate(Arc<RwLock<()>>);

/// Keeps anything new from beginning while it is alive.
pub type Paused = OwnedRwLockWriteGuard<()>;

impl Gate {
    /// Waits for the end of what is under way, and lets nothing new begin.
    pub async fn pause(&self) -> Paused {
        self.0.clone().write_owned().await
    }

    /// Waits while it is paused. A pause waits for the guard.
    async fn pass(&self) -> RwLockReadGuard<'_, ()> {
        self.0.read().await
    }
}

/// The running triggers. They end when this is dropped.
pub struct Pump {
    /// Delivers the queue's messages.
    pub deliveries: Gate,
    /// Calls the scheduled functions.
    pub schedules: Gate,
    _tasks: JoinSet<()>,
}

impl Pump {
    /// Starts the queue's mapping and the schedules of the functions that the stack has with this kind of queue.
    pub fn start(catalogue: &Catalogue, gateway: &Arc<Gateway>, aws: &Aws, queue_url: &str, queue: Queue) -> Self {
        let (deliveries, schedules) = (Gate::default(), Gate::default());
        let mut tasks = JoinSet::new();
        for (name, function) in catalogue.iter() {
            if !function.exists_with(queue) {
                continue;
            }
            let (gateway, name, facts) = (gateway.clone(), name.to_owned(), function.facts);
            match function.trigger {
                Trigger::Queue => {
                    let mapping =
                        Mapping { aws: aws.clone(), queue_url: queue_url.to_owned(), consumer: name, gateway };
                    let batches = facts.environments;
                    tasks.spawn(Arc::new(mapping).serve(batches, deliveries.clone()));
                }
                Trigger::Schedule if name == worker(queue) => {
                    tasks.spawn(drain(gateway, name, facts.pause, deliveries.clone()));
                }
                Trigger::Schedule => {
                    tasks.spawn(schedule(gateway, name, facts.pause, schedules.clone()));
                }
                Trigger::Request | Trigger::Address | Trigger::Deploy => {}
            }
        }
        Self { deliveries, schedules, _tasks: tasks }
    }
}

/// Calls a function again and again.
async fn schedule(gateway: Arc<Gateway>, function: String, every: Duration, gate: Gate) {
    loop {
        sleep(every).await;
        let open = gate.pass().await;
        // Why it failed is in its log, and the next call comes anyway.
        let _ = gateway.invoke(&function, &scheduled_event(&function)).await;
        drop(open);
    }
}

/// Calls the drain whenever it has ended. A pause keeps it from beginning; it does not wait for its end, which may be
/// minutes away.
async fn drain(gateway: Arc<Gateway>, function: String, pause: Duration, gate: Gate) {
    loop {
        drop(gate.pass().await);
        let _ = gateway.invoke(&function, &scheduled_event(&function)).await; // as above
        sleep(pause).await;
    }
}

/// The event source mapping.
struct Mapping {
    aws: Aws,
    queue_url: String,
    consumer: String,
    gateway: Arc<Gateway>,
}

impl Mapping {
    /// Receives messages and hands them to the consumer, some batches at once.
    async fn serve(self: Arc<Self>, batches: usize, gate: Gate) {
        let free = Arc::new(Semaphore::new(batches));
        let mut batches = JoinSet::new();
        let mut lively_until = Instant::now();
        while let Ok(permit) = free.clone().acquire_owned().await {
            let lively = Instant::now() < lively_until;
            let open = gate.pass().await;
            let wait = if lively { Duration::ZERO } else { LONG_POLL };
            let received = self.aws.receive_messages(&self.queue_url, wait).await;
            drop(open);
            match received {
                Ok(messages) if !messages.is_empty() => {
                    lively_until = Instant::now() + LIVELY;
                    let mapping = self.clone();
                    batches.spawn(async move {
                        mapping.deliver(messages).await;
                        drop(permit);
                    });
                }
                Ok(_) if lively => sleep(LIVELY_PAUSE).await,
                Ok(_) => {}
                Err(_) => sleep(Duration::from_millis(500)).await, // the queue is away
            }
            while batches.try_join_next().is_some() {}
        }
    }

    /// Deletes the messages that the consumer handled, and lets the rest be seen again soon.
    async fn deliver(&self, messages: Vec<Message>) {
        let event = sqs_event(&self.queue_url, &messages);
        let answer = self.gateway.invoke(&self.consumer, &event).await;
        let failed = match &answer {
            Ok(answer) => failures(answer, &messages),
            Err(_) => None, // why is in the consumer's log
        };
        for message in &messages {
            let handled = failed.as_ref().is_some_and(|failed| !failed.contains(&message.message_id.as_str()));
            // When the queue is away, the message comes again, and invariantly that changes nothing.
            let _ = if handled {
                self.aws.delete_message(&self.queue_url, message).await
            } else {
                let aws = &self.aws;
                aws.return_message(&self.queue_url, message, RETRY_AFTER).await
            };
        }
    }
}

/// Reads which messages of a batch failed; `None` when the response is malformed, which fails the whole batch.
///
/// See <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>.
fn failures<'a>(answer: &'a Value, messages: &[Message]) -> Option<Vec<&'a str>> {
    let items = match answer.get("batchItemFailures") {
        None | Some(Value::Null) => return Some(Vec::new()),
        Some(items) => items.as_array()?,
    };
    let failed: Option<Vec<_>> = items.iter().map(|item| item.get("itemIdentifier")?.as_str()).collect();
    let known = |id: &&str| messages.iter().any(|message| message.message_id == *id);
    failed.filter(|failed| failed.iter().all(known))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn batch() -> [Message; 2] {
        ["first", "second"].map(|id| Message { message_id: id.to_owned(), ..Message::default() })
    }

    #[test]
    fn a_malformed_response_fails_the_whole_batch() {
        let failed = |answer| failures(&answer, &batch()).map(|ids| ids.join(","));
        assert_eq!(failed(json!(null)), Some(String::new()));
        assert_eq!(failed(json!({"batchItemFailures": []})), Some(String::new()));
        let one = json!({"batchItemFailures": [{"itemIdentifier": "second"}]});
        assert_eq!(failed(one), Some("second".into()));

        let unknown = json!({"batchItemFailures": [{"itemIdentifier": "third"}]});
        assert_eq!(failed(unknown), None, "an unknown id fails the batch");
        assert_eq!(failed(json!({"batchItemFailures": [{"item": "first"}]})), None);
        assert_eq!(failed(json!({"batchItemFailures": "first"})), None);
    }
}
