//! Drives the statements in random order, and compares what they do with a model of one room.
//!
//! Races are tested beside the statements that must win them.

use std::time::Duration;

use proptest::{
    collection::vec,
    prelude::*,
    sample::Index,
    test_runner::{Config, TestCaseError, TestRunner},
};
use tokio::runtime::Builder;

use super::*;
use crate::{
    auth::Caller,
    database::Database,
    domain::{ChatroomId, Content, DailyLimits, MessageId},
    gemini::{Finish, Trouble},
    queue::WakeUp,
    testing,
};

const TERMS: Terms = Terms { lease: Duration::from_secs(20), deadline: Duration::from_mins(15), history_tokens: 1_000 };

/// Something that is done to the room. An index chooses a message, or a worker among all that ever had the room.
#[derive(Debug, Clone, Copy)]
enum Act {
    Accept,
    Claim,
    Checkpoint(Index),
    Answer(Index),
    Fail(Index, bool),
    Defer(Index, bool),
    Stop(Index),
    Die,
    Look(Index),
    Forgotten,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let worker = any::<Index>;
    let act = prop_oneof![
        3 => Just(Act::Accept),
        5 => Just(Act::Claim),
        2 => worker().prop_map(Act::Checkpoint),
        2 => worker().prop_map(Act::Answer),
        2 => (worker(), any::<bool>()).prop_map(|(worker, is_free)| Act::Fail(worker, is_free)),
        2 => (worker(), any::<bool>()).prop_map(|(worker, is_long)| Act::Defer(worker, is_long)),
        2 => any::<Index>().prop_map(Act::Stop),
        2 => Just(Act::Die),
        2 => any::<Index>().prop_map(Act::Look),
        1 => Just(Act::Forgotten),
    ];
    vec(act, 1..40)
}

/// A message, as it should be.
#[derive(Debug, Clone)]
struct Expected {
    status: Status,
    is_due: bool,
    is_to_stop: bool,
}

/// Who has the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Nobody,
    Alive,
    Dead,
}

/// The room as it should be.
struct Model {
    messages: Vec<Expected>,
    holder: Holder,
    used: i64,
}

impl Model {
    fn oldest(&mut self) -> Option<(usize, &mut Expected)> {
        self.messages.iter_mut().enumerate().find(|(_, message)| !message.status.is_settled())
    }

    /// The message that a claim would get.
    fn claimable(&mut self) -> Option<usize> {
        let is_free = self.holder != Holder::Alive;
        self.oldest().filter(|(_, oldest)| is_free && oldest.is_due).map(|(at, _)| at)
    }

    /// Lets the last worker end its time with its message, unless that is settled or waits by now.
    fn end(&mut self, at: usize, status: Status) {
        self.holder = Holder::Nobody;
        self.messages[at].status = status;
    }
}

/// A room and the workers that ever had it, of which only the last may change anything.
struct Room {
    posting: Posting,
    database: Database,
    owner: Caller,
    id: ChatroomId,
    messages: Vec<MessageId>,
    workers: Vec<Lease>,
    model: Model,
}

impl Room {
    async fn new(database: &Database) -> Self {
        let owner = testing::user(database).await;
        let limits = DailyLimits { basic: 1_000, pro: 1_000 };
        Self {
            posting: Posting::new(database.clone(), limits),
            database: database.clone(),
            owner,
            id: testing::chatroom(database, owner).await,
            messages: Vec::new(),
            workers: Vec::new(),
            model: Model { messages: Vec::new(), holder: Holder::Nobody, used: 0 },
        }
    }

    /// The worker that an index chooses, where its message stands, and whether it still has the room: no other claim
    /// came after it, and it has neither settled nor deferred its message.
    fn worker(&self, index: Index) -> Option<(&Lease, usize, bool)> {
        let worker = index.get(self.workers.get(..).filter(|workers| !workers.is_empty())?);
        let at = self.messages.iter().position(|message| *message == worker.message)?;
        let is_last = self.workers.last().is_some_and(|last| last.epoch == worker.epoch);
        Some((worker, at, is_last && self.model.messages[at].status == Status::Answering))
    }

    async fn act(&mut self, act: Act) {
        match act {
            Act::Accept => self.accept().await,
            Act::Claim => self.claim().await,
            Act::Checkpoint(worker) => self.checkpoint(worker).await,
            Act::Answer(worker) => {
                let finish = Finish { reason: "STOP".into(), ..Finish::default() };
                self.settle(worker, End::Answered { reply: "reply".into(), finish }).await;
            }
            Act::Fail(worker, is_free) => {
                self.settle(worker, End::Failed { reason: "REASON".into(), is_free }).await;
            }
            Act::Defer(worker, is_long) => self.defer(worker, is_long).await,
            Act::Stop(message) => self.stop(message).await,
            Act::Die => {
                let die = "update chatrooms set answering_until = now() where id = $1 and answering_until is not null";
                self.database.query(die, &[&self.id]).await.unwrap();
                if self.model.holder == Holder::Alive {
                    self.model.holder = Holder::Dead;
                }
            }
            Act::Look(message) => self.look(message).await,
            Act::Forgotten => {
                let rooms = forgotten(&self.database, Duration::ZERO, Duration::ZERO).await.unwrap();
                let is_forgotten = rooms.iter().any(|room| room.chatroom_id == self.id);
                assert_eq!(is_forgotten, self.model.claimable().is_some());
            }
        }
    }

    async fn accept(&mut self) {
        let content = Content::try_from("hello".to_owned()).unwrap();
        let message = self.posting.accept(self.owner.user, self.id, None, &Post::new(content)).await.unwrap();
        self.messages.push(message.id);
        self.model.messages.push(Expected { status: Status::Queued, is_due: true, is_to_stop: false });
        self.model.used += 1;
    }

    async fn claim(&mut self) {
        let room = WakeUp { user_id: self.owner.user, chatroom_id: self.id };
        let claimed = match Claim::attempt(&self.database, room, &TERMS).await.unwrap() {
            Claim::Held(lease) => Some(*lease),
            Claim::Nothing => None,
            Claim::Outdated => panic!("nobody else claims"),
        };
        let expected = self.model.claimable();
        assert_eq!(claimed.as_ref().map(|lease| lease.message), expected.map(|at| self.messages[at]));
        let Some((lease, at)) = claimed.zip(expected) else { return };
        let message = &mut self.model.messages[at];
        message.status = Status::Answering;
        assert_eq!(lease.is_to_stop, message.is_to_stop);
        self.model.holder = Holder::Alive;
        self.workers.push(lease);
    }

    async fn checkpoint(&mut self, worker: Index) {
        let Some((worker, at, has_room)) = self.worker(worker) else { return };
        let seen = worker.checkpoint(&self.database, TERMS.lease, "draft").await.unwrap();
        assert_eq!(seen, has_room.then_some(self.model.messages[at].is_to_stop));
        if has_room {
            self.model.holder = Holder::Alive;
        }
    }

    async fn settle(&mut self, worker: Index, end: End) {
        let Some((worker, at, has_room)) = self.worker(worker) else { return };
        let status = if matches!(end, End::Answered { .. }) { Status::Answered } else { Status::Failed };
        let is_free = matches!(end, End::Failed { is_free: true, .. });
        let is_last = self.workers.last().is_some_and(|last| last.epoch == worker.epoch);
        let settled = worker.settle(&self.database, end).await.unwrap();
        // The last worker may end its message twice, and is told so twice.
        let is_again = is_last && self.model.messages[at].status.is_settled();
        assert_eq!(settled.is_some(), has_room || is_again);
        if has_room {
            self.model.end(at, status);
            self.model.used -= i64::from(is_free);
        }
    }

    async fn defer(&mut self, worker: Index, is_long: bool) {
        let Some((worker, at, has_room)) = self.worker(worker) else { return };
        let delay = Duration::from_secs(if is_long { 3_600 } else { 0 });
        worker.defer(&self.database, delay, Trouble::Other).await.unwrap();
        if has_room {
            self.model.end(at, Status::Queued);
            let message = &mut self.model.messages[at];
            message.is_due = !is_long || message.is_to_stop;
        }
    }

    async fn stop(&mut self, message: Index) {
        if self.messages.is_empty() {
            return;
        }
        let at = message.index(self.messages.len());
        let stopped = stop(&self.database, self.owner.user, self.id, self.messages[at]).await.unwrap();
        let expected = &mut self.model.messages[at];
        match expected.status {
            Status::Queued => {
                expected.status = Status::Failed;
                self.model.used -= 1;
            }
            Status::Answering => expected.is_to_stop = true,
            Status::Answered | Status::Failed => {}
        }
        assert_eq!(stopped.unwrap().message.status, expected.status);
    }

    async fn look(&mut self, message: Index) {
        if self.messages.is_empty() {
            return;
        }
        let at = message.index(self.messages.len());
        let position = Position::beginning(self.messages[at]);
        let look = look(&self.database, self.owner.user, self.id, position).await.unwrap().unwrap();
        let status = self.model.messages[at].status;
        let is_free = !status.is_settled() && self.model.claimable().is_some();
        assert_eq!((look.status, look.is_free), (status, is_free));
    }

    /// Compares what is stored with the model.
    async fn check(&self) {
        const STORED: &str = "
            select array(select status from messages where chatroom_id = $1 order by position) as statuses,
                   (select coalesce(sum(used), 0)::int8 from daily_usage where user_id = $2) as used";
        let row = self.database.query_one(STORED, &[&self.id, &self.owner.user]).await.unwrap();
        let expected: Vec<_> = self.model.messages.iter().map(|message| message.status).collect();
        assert_eq!(row.get::<_, Vec<Status>>("statuses"), expected);
        assert_eq!(row.get::<_, i64>("used"), self.model.used);
    }
}

#[test]
fn the_statements_do_what_the_diagram_says_in_any_order() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let database = runtime.block_on(testing::database());
    let mut runner = TestRunner::new(Config { cases: 64, ..Config::default() });
    let outcome = runner.run(&acts(), |acts| {
        runtime.block_on(async {
            let mut room = Room::new(&database).await;
            for act in acts {
                room.act(act).await;
                room.check().await;
            }
        });
        Ok::<_, TestCaseError>(())
    });
    outcome.unwrap();
}
