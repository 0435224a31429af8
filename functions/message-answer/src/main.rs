//! Consumes the queue: replies to one message in each room of a batch of wake-ups, all at once.
//!
//! The time is spent waiting for Gemini, so ten rooms of a batch cost little more than one. A batch never waits for a
//! room's backlog: a room in which more waits is woken again, behind the others. Only what cannot be decided
//! here goes back to the queue: a body that cannot be read, which ends in the dead-letter queue, and rooms that
//! Postgres was not there for.

use std::collections::HashMap;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use futures_util::future::join_all;
use lambda_runtime::{Error, LambdaEvent};
use shared::{answering::Answering, database::Database, queue::WakeUp, telemetry::Chain};
use tracing::error;

async fn answer(app: &Answering, event: LambdaEvent<SqsEvent>) -> Result<SqsBatchResponse, Error> {
    let (rooms, unreadable) = rooms(event.payload);
    let answers = rooms.into_iter().map(async |(room, wake_ups)| {
        let Err(error) = app.answer(room).await else {
            return Vec::new();
        };
        error!(room = %room.chatroom_id, error = %Chain(&error), "the room was not answered");
        wake_ups
    });
    let failed = join_all(answers).await;
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = failed.into_iter().flatten().chain(unreadable).map(failure).collect();
    Ok(response)
}

/// The rooms of a batch with the ids of the messages that woke them, and the ids of messages that say nothing.
fn rooms(event: SqsEvent) -> (HashMap<WakeUp, Vec<String>>, Vec<String>) {
    let mut rooms: HashMap<_, Vec<_>> = HashMap::new();
    let mut unreadable = Vec::new();
    for record in event.records {
        let id = record.message_id.unwrap_or_default();
        match serde_json::from_str::<WakeUp>(&record.body.unwrap_or_default()) {
            Ok(wake_up) => rooms.entry(wake_up).or_default().push(id),
            Err(error) => {
                error!(message_id = id, error = %Chain(&error), "a queue message is no wake-up");
                unreadable.push(id);
            }
        }
    }
    (rooms, unreadable)
}

fn failure(message_id: String) -> BatchItemFailure {
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = message_id;
    failure
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shared::run(|| Answering::from_env(Database::from_env()?), answer).await
}

#[cfg(test)]
mod tests {
    //! How a batch becomes rooms.

    use proptest::{collection::vec, prelude::*};

    use super::*;

    const GOOD: &str = r#"{"user_id":"019b0000-0000-7000-8000-000000000001",
                           "chatroom_id":"019b0000-0000-7000-8000-000000000002"}"#;

    fn batch(bodies: &[&str]) -> SqsEvent {
        let records: Vec<_> = (0..)
            .zip(bodies)
            .map(|(id, body)| serde_json::json!({ "messageId": id.to_string(), "body": body }))
            .collect();
        serde_json::from_value(serde_json::json!({ "Records": records })).unwrap()
    }

    #[test]
    fn a_room_woken_twice_is_answered_once() {
        let body = GOOD;
        let (rooms, unreadable) = rooms(batch(&[body, body]));
        assert_eq!(rooms.into_values().collect::<Vec<_>>(), [["0", "1"]]);
        assert!(unreadable.is_empty());
    }

    #[test]
    fn only_unreadable_bodies_go_back() {
        let body = GOOD;
        for poison in [
            "",
            "{}",
            "null",
            "[]",
            r#"{"chatroom_id":"019b0000-0000-7000-8000-000000000002"}"#,
            r#"{"user_id":"019b0000-0000-7000-8000-000000000001","chatroom_id":7}"#,
            r#"{"user_id":"x","chatroom_id":"019b0000-0000-7000-8000-000000000002"}"#,
        ] {
            let (rooms, unreadable) = rooms(batch(&[body, poison]));
            assert_eq!((rooms.len(), unreadable), (1, vec!["1".to_owned()]), "{poison}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_in_a_batch_nothing_of_it_is_forgotten(
            mut bodies in vec(
                r#"\{"user_id":("[0-9a-f-]{36}"|null),"chatroom_id":("[0-9a-f-]{36}"|\[\])\}|\PC{0,30}"#,
                0..10,
            ),
            place in any::<prop::sample::Index>(),
        ) {
            bodies.insert(place.index(bodies.len() + 1), GOOD.to_owned());
            let bodies: Vec<_> = bodies.iter().map(String::as_str).collect();
            let (rooms, unreadable) = rooms(batch(&bodies));
            prop_assert!(!rooms.is_empty());
            let read: usize = rooms.values().map(Vec::len).sum();
            prop_assert_eq!(read + unreadable.len(), bodies.len());
        }
    }
}
