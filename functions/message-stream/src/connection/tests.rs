//! What a reader gets wherever it comes in, and whatever becomes of the message meanwhile. How replies are asked for is
//! tested over HTTP.

use futures_util::future::join;
use serde_json::{Value, json};
use shared::{
    auth::Caller,
    database::Parameter,
    domain::{ChatroomId, MessageId},
    http::{self, Chunks},
    messages::Position,
    testing,
};
use time::OffsetDateTime;
use tokio::time::timeout;

use super::*;
use crate::events::tests::read;

/// A text of characters of one to four bytes.
const TEXT: &str = "Grüße aus Köln 🌉🚋 — 上海和东京 ✨ naïve café";

/// Longer than anything here takes, and shorter than a reader's patience.
const SOON: Duration = Duration::from_secs(20);

/// The first characters of the text.
fn beginning(characters: usize) -> String {
    TEXT.chars().take(characters).collect()
}

/// A message of a room.
struct Fixture {
    answering: &'static Answering,
    owner: Caller,
    room: ChatroomId,
    message: MessageId,
}

/// A connection and what it is sent.
struct Reader {
    connection: Connection,
    chunks: Chunks,
}

impl Fixture {
    async fn new() -> Self {
        let database = testing::database().await;
        let owner = testing::user(&database).await;
        let room = testing::chatroom(&database, owner).await;
        let message = testing::message(&database, owner, room, "hello").await;
        let answering = Answering::from_env(database).unwrap();
        Self { answering: Box::leak(Box::new(answering)), owner, room, message }
    }

    async fn execute(&self, sql: &str, parameters: &[&dyn Parameter]) {
        self.answering.database().query(sql, parameters).await.unwrap();
    }

    /// Leaves the message as a worker does that stored a checkpoint and holds the room for a minute.
    async fn write(&self, epoch: i64, draft: &str) {
        let sql = "with room as (
                       update chatrooms set epoch = $1, answering_until = now() + interval '1 minute'
                   )
                   update messages
                   set status = 'answering', draft = $2, draft_epoch = $1, not_before = now(), settled_at = null,
                       reply = null, finish_reason = null";
        self.execute(sql, &[&epoch, &draft]).await;
    }

    /// Ends the lease as if the worker had died.
    async fn die(&self) {
        self.execute("update chatrooms set answering_until = now()", &[]).await;
    }

    async fn ask_to_stop(&self) {
        self.execute("update messages set stop_requested_at = now()", &[]).await;
    }

    async fn settle(&self, changes: &str) {
        self.execute("update chatrooms set answering_until = null", &[]).await;
        let sql = format!("update messages set settled_at = now(), draft = null, {changes}");
        self.execute(&sql, &[]).await;
    }

    async fn answer(&self, reply: &str, finish_reason: &str) {
        self.settle(&format!("status = 'answered', reply = '{reply}', finish_reason = '{finish_reason}'")).await;
    }

    async fn fail(&self, reason: &str) {
        self.settle(&format!("status = 'failed', failure = '{reason}'")).await;
    }

    /// A connection whose client has so much of the text of an epoch.
    async fn reader(&self, epoch: i64, characters: usize) -> Reader {
        let message = Message::accepted(self.message, self.room, "hello".into(), OffsetDateTime::now_utc());
        let (writer, chunks) = http::chunks();
        let events = EventWriter::new(writer, Position { message: self.message, epoch, characters });
        let user = self.owner.user;
        let slot = Slot::take(self.answering.database(), user, 3, Some(self.message), false).await;
        let slot = Arc::new(slot.unwrap());
        Reader { connection: Connection::new(self.answering, user, message, events, slot), chunks }
    }

    async fn value(&self, sql: &str) -> String {
        self.answering.database().query_one(sql, &[]).await.unwrap().get(0)
    }
}

impl Reader {
    /// Lets it look once, and returns the events that it is sent.
    async fn look(&mut self) -> Vec<(Option<Position>, Value)> {
        self.connection.until = Instant::now();
        self.connection.run(Step::Look).await.unwrap();
        read(&self.chunks.written())
    }

    /// Lets it follow to its end, which comes before its time is over, and returns the events that it is sent.
    async fn follow(&mut self) -> Vec<(Option<Position>, Value)> {
        timeout(SOON, self.connection.run(Step::Look)).await.expect("it goes on following").unwrap();
        read(&self.chunks.written())
    }
}

/// The text of events, whose positions are those of an epoch after so many characters.
fn text(events: &[(Option<Position>, Value)], epoch: i64, mut characters: usize) -> String {
    let mut text = String::new();
    for (position, data) in events {
        let delta = data["delta"].as_str().unwrap_or_default();
        characters += delta.chars().count();
        text += delta;
        let expected = position.map(|position| Position { epoch, characters, ..position });
        assert_eq!(*position, expected, "{data}");
    }
    text
}

fn kinds(events: &[(Option<Position>, Value)]) -> Vec<&str> {
    events.iter().map(|(_, data)| data["type"].as_str().unwrap_or("done")).collect()
}

#[tokio::test]
async fn a_reader_that_comes_at_any_character_gets_the_rest_while_it_is_written_and_its_end() {
    let fixture = Fixture::new().await;
    let length = TEXT.chars().count();
    for known in 0..=length {
        let mut reader = fixture.reader(7, known).await;
        let mut received = beginning(known);
        // The draft lags behind whoever read from its worker.
        for written in [known / 2, usize::midpoint(known, length), length] {
            fixture.write(7, &beginning(written)).await;
            received += &text(&reader.look().await, 7, received.chars().count());
            assert_eq!(received, beginning(known.max(written)));
        }
        fixture.answer(TEXT, "STOP").await;
        let end = reader.look().await;
        assert_eq!(text(&end, 7, length), "");
        assert_eq!(kinds(&end), ["text-end", "finish", "done"]);

        let late = fixture.reader(7, known).await.follow().await;
        assert_eq!(beginning(known) + &text(&late, 7, known), TEXT);
        assert_eq!(kinds(&late).last(), Some(&"done"));
    }
}

#[tokio::test]
async fn a_reader_that_claims_to_have_more_than_there_is_gets_the_end_alone() {
    let fixture = Fixture::new().await;
    fixture.write(7, TEXT).await;
    fixture.answer(TEXT, "STOP").await;
    let largest = usize::try_from(i32::MAX).unwrap();
    for known in [TEXT.len(), largest - 1, largest, largest + 1, usize::MAX] {
        let events = fixture.reader(7, known).await.follow().await;
        assert_eq!(kinds(&events), ["start", "text-start", "text-end", "finish", "done"], "{known}");
    }
}

#[tokio::test]
async fn a_reader_of_another_epoch_gets_the_text_from_its_beginning_and_its_epoch() {
    let fixture = Fixture::new().await;
    fixture.write(8, "another text").await;
    for (epoch, characters) in [(7, 5), (9, 5), (0, 0), (i64::MIN, usize::MAX)] {
        let mut reader = fixture.reader(epoch, characters).await;
        assert_eq!(text(&reader.look().await, 8, 0), "another text");
        fixture.write(8, "another text, longer").await;
        assert_eq!(text(&reader.look().await, 8, 12), ", longer");
        fixture.write(8, "another text").await;
    }
}

#[tokio::test]
async fn a_reader_that_has_a_part_is_sent_nothing_of_another_workers_text_and_told_of_no_end() {
    let fixture = Fixture::new().await;
    for change in ["a takeover", "another try", "a free room"] {
        fixture.write(7, "Hel").await;
        let mut reader = fixture.reader(7, 0).await;
        assert_eq!(text(&reader.look().await, 7, 0), "Hel");
        reader.connection.until = Instant::now() + PATIENCE;
        match change {
            "a takeover" => fixture.write(8, "Good morning").await,
            "another try" => {
                let deferred = "update messages set status = 'queued', draft = null";
                fixture.execute(deferred, &[]).await;
            }
            _ => fixture.die().await,
        }
        assert_eq!(reader.follow().await, [], "{change}");
        let epoch = fixture.value("select epoch::text from chatrooms").await;
        assert_eq!(epoch, if change == "a takeover" { "8" } else { "7" }, "it claims nothing");
    }
}

#[tokio::test]
async fn a_reader_that_has_nothing_yet_stays_for_another_workers_text() {
    let fixture = Fixture::new().await;
    fixture.write(7, "").await;
    let mut reader = fixture.reader(7, 0).await;
    assert_eq!(kinds(&reader.look().await), ["start", "text-start"]);
    fixture.execute("update messages set status = 'queued', not_before = now() + interval '1 minute'", &[]).await;
    assert_eq!(reader.look().await, []);
    fixture.write(8, "Hello").await;
    assert_eq!(text(&reader.look().await, 8, 0), "Hello");
}

#[tokio::test]
async fn of_two_readers_that_find_a_lease_over_one_works_and_both_get_the_same_text() {
    let fixture = Fixture::new().await;
    fixture.write(7, "Hello").await;
    // Whoever claims it has nothing to ask.
    fixture.ask_to_stop().await;
    fixture.die().await;
    let mut readers = [fixture.reader(7, 3).await, fixture.reader(7, 5).await];
    let [one, other] = &mut readers;
    for events in <[_; 2]>::from(join(one.follow(), other.follow()).await) {
        assert_eq!(text(&events, 8, 0), "Hello");
        assert_eq!(kinds(&events), ["start", "text-start", "text-delta", "text-end", "abort", "done"]);
    }
    assert_eq!(fixture.value("select concat_ws(' ', epoch, reply) from chatrooms, messages").await, "8 Hello");
}

#[tokio::test]
async fn a_reader_is_told_of_each_end_in_its_own_way() {
    for (change, end) in [
        ("answered STOP", json!({ "type": "finish", "finishReason": "stop" })),
        ("answered MAX_TOKENS", json!({ "type": "finish", "finishReason": "length" })),
        ("answered STOPPED", json!({ "type": "abort", "reason": "STOPPED" })),
        ("failed STOPPED", json!({ "type": "abort", "reason": "STOPPED" })),
        ("failed SAFETY", json!({ "type": "error", "errorText": Failure::from("SAFETY".to_owned()).message })),
    ] {
        let fixture = Fixture::new().await;
        let mut reader = fixture.reader(0, 0).await;
        let busy = "update chatrooms set answering_until = now() + interval '1 minute'";
        fixture.execute(busy, &[]).await;
        assert_eq!(kinds(&reader.look().await), ["start", "text-start"]);
        match change.split_once(' ') {
            Some(("answered", reason)) => fixture.answer("Hello", reason).await,
            Some((_, reason)) => fixture.fail(reason).await,
            None => unreachable!(),
        }
        let mut events = reader.look().await;
        assert_eq!(events.pop().unwrap().1, "done");
        let mut last = events.pop().unwrap().1;
        if let Some(metadata) = last.as_object_mut().unwrap().remove("messageMetadata") {
            assert_eq!(metadata["status"], "answered");
        }
        assert_eq!(last, end, "{change}");
    }
}

#[tokio::test]
async fn a_reader_of_a_room_that_is_gone_is_told_of_no_end() {
    let fixture = Fixture::new().await;
    fixture.write(7, "Hel").await;
    let mut reader = fixture.reader(7, 0).await;
    reader.look().await;
    reader.connection.until = Instant::now() + PATIENCE;
    fixture.execute("delete from chatrooms", &[]).await;
    assert_eq!(reader.follow().await, []);
}

#[tokio::test]
async fn a_reader_is_sent_away_after_a_minute_and_told_of_no_end() {
    let fixture = Fixture::new().await;
    fixture.write(7, "Hel").await;
    let mut reader = fixture.reader(7, 0).await;
    let patience = reader.connection.until - Instant::now();
    assert!(patience <= Duration::from_mins(1) && patience > Duration::from_secs(50), "{patience:?}");
    reader.connection.until = Instant::now() + 2 * PAUSE;
    assert_eq!(kinds(&reader.follow().await), ["start", "text-start", "text-delta"]);
    assert!(Instant::now() >= reader.connection.until);
}

#[tokio::test]
async fn a_reader_leaves_nothing_open_in_postgres_between_its_looks() {
    const LOOKING: &str = "select coalesce(max(state), 'gone') from pg_stat_activity
                           where datname = current_database() and query like '%as is_free%'
                             and pid <> pg_backend_pid()";
    let fixture = Fixture::new().await;
    fixture.write(7, "Hel").await;
    let mut reader = fixture.reader(7, 0).await;
    reader.connection.until = Instant::now() + 4 * PAUSE;
    let watcher = fixture.answering.database().another_connection();
    let watch = async {
        let mut states = Vec::new();
        for _ in 0..20 {
            sleep(PAUSE / 6).await;
            states.push(watcher.query_one(LOOKING, &[]).await.unwrap().get::<_, String>(0));
        }
        states
    };
    let (_, states) = join(reader.follow(), watch).await;
    assert!(states.iter().any(|state| state == "idle"), "{states:?}");
    assert!(!states.iter().any(|state| state == "idle in transaction"), "{states:?}");
}

#[tokio::test]
async fn a_reader_whose_slot_a_newer_one_has_ends_and_one_that_works_goes_on() {
    let fixture = Fixture::new().await;
    fixture.write(7, "Hel").await;
    let mut reader = fixture.reader(7, 0).await;
    reader.look().await;
    reader.connection.until = Instant::now() + PATIENCE;
    for _ in 0..3 {
        fixture.reader(7, 0).await;
    }
    reader.connection.slot.prolong(fixture.answering.database()).await;
    assert_eq!(reader.follow().await, []);

    // Whoever claims it has nothing to ask.
    fixture.ask_to_stop().await;
    fixture.die().await;
    let mut worker = fixture.reader(0, 0).await;
    worker.connection.slot.work(fixture.answering.database()).await;
    for _ in 0..3 {
        fixture.reader(7, 0).await;
    }
    worker.connection.slot.prolong(fixture.answering.database()).await;
    assert_eq!(kinds(&worker.follow().await).last(), Some(&"done"));
}
