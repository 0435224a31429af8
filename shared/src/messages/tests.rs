//! Drives the statements in random order, and compares what they do, and what they cost, with a model of one room.
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
    domain::{ChatroomId, Content, DailyLimits, Each, MessageId},
    error::Error,
    gemini::{Trouble, Written},
    queue::WakeUp,
    testing,
};

const TERMS: Terms = Terms { lease: Duration::from_secs(20), deadline: Duration::from_mins(15), history_tokens: 1_000 };

/// The limits of a day.
const LIMITS: DailyLimits = DailyLimits {
    messages: Each { basic: MESSAGES, pro: 1_000 },
    tokens: Each { basic: TOKENS, pro: 1_000_000 },
    posts_per_message: POSTS_PER_MESSAGE,
};
const MESSAGES: i32 = 2;
const TOKENS: i64 = 90;
const POSTS_PER_MESSAGE: i32 = 3;

/// What an ask costs, if the model writes something.
const COST: i64 = 30;

/// Something that is done to the room. An index chooses a message, or a worker among all that ever had the room.
#[derive(Debug, Clone, Copy)]
enum Act {
    Accept,
    Claim,
    Checkpoint(Index),
    Answer(Index),
    Fail(Index, bool),
    Defer { worker: Index, is_long: bool, has_written: bool },
    Stop(Index),
    Die,
    Delete,
    Look(Index),
    Forgotten,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let worker = any::<Index>;
    let act = prop_oneof![
        5 => Just(Act::Accept),
        8 => Just(Act::Claim),
        2 => worker().prop_map(Act::Checkpoint),
        2 => worker().prop_map(Act::Answer),
        2 => (worker(), any::<bool>()).prop_map(|(worker, is_free)| Act::Fail(worker, is_free)),
        2 => (worker(), any::<bool>(), any::<bool>())
            .prop_map(|(worker, is_long, has_written)| Act::Defer { worker, is_long, has_written }),
        2 => any::<Index>().prop_map(Act::Stop),
        2 => Just(Act::Die),
        1 => Just(Act::Delete),
        2 => any::<Index>().prop_map(Act::Look),
        1 => Just(Act::Forgotten),
    ];
    vec(act, 1..100)
}

/// A message, as it should be.
#[derive(Debug, Clone)]
struct Expected {
    status: Status,
    is_due: bool,
    is_to_stop: bool,
    was_asked: bool,
}

/// Who has the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Nobody,
    Alive,
    Dead,
}

/// The room and its owner's day as they should be.
struct Model {
    messages: Vec<Expected>,
    holder: Holder,
    day: Day,
}

/// What the day has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Day {
    used: i32,
    accepted: i32,
    refunded: i32,
    tokens: i64,
    /// Messages that the model was asked about, which the owner owes for.
    asked: i32,
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
        Self {
            posting: Posting::new(database.clone(), LIMITS),
            database: database.clone(),
            owner,
            id: testing::chatroom(database, owner).await,
            messages: Vec::new(),
            workers: Vec::new(),
            model: Model { messages: Vec::new(), holder: Holder::Nobody, day: Day::default() },
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
                self.settle(worker, End::Answered { finish_reason: "STOP".into() }).await;
            }
            Act::Fail(worker, is_free) => {
                let reason = if is_free { "EMPTY_REPLY" } else { "SAFETY" };
                self.settle(worker, End::Failed { reason: reason.into() }).await;
            }
            Act::Defer { worker, is_long, has_written } => self.defer(worker, is_long, has_written).await,
            Act::Stop(message) => self.stop(message).await,
            Act::Die => {
                let die = "update chatrooms set answering_until = now() where id = $1 and answering_until is not null";
                self.database.query(die, &[&self.id]).await.unwrap();
                if self.model.holder == Holder::Alive {
                    self.model.holder = Holder::Dead;
                }
            }
            Act::Delete => {
                let delete = "delete from chatrooms where id = $1";
                self.database.query(delete, &[&self.id]).await.unwrap();
                self.id = testing::chatroom(&self.database, self.owner).await;
                self.messages.clear();
                self.workers.clear();
                self.model = Model { messages: Vec::new(), holder: Holder::Nobody, day: self.model.day };
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
        let day = self.model.day;
        let expected = if day.tokens >= TOKENS {
            Some("daily-tokens")
        } else if day.accepted >= MESSAGES * POSTS_PER_MESSAGE {
            Some("daily-posts")
        } else {
            (day.used >= MESSAGES).then_some("daily-messages")
        };
        let accepted = match self.posting.accept(self.owner.user, self.id, None, &Post::new(content)).await {
            Ok(accepted) => accepted,
            Err(Error::OverLimit(over)) => return assert_eq!(Some(over.policy), expected),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(None, expected);
        assert!(accepted.is_new);
        self.messages.push(accepted.message.id);
        let message = Expected { status: Status::Queued, is_due: true, is_to_stop: false, was_asked: false };
        self.model.messages.push(message);
        self.model.day.used += 1;
        self.model.day.accepted += 1;
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
        self.model.day.asked += i32::from(!std::mem::replace(&mut message.was_asked, true));
        assert_eq!(lease.is_to_stop, message.is_to_stop);
        assert_eq!(lease.is_beyond_budget, self.model.day.tokens >= TOKENS);
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
        let is_free = matches!(&end, End::Failed { reason } if Failure::is_free(reason));
        let is_last = self.workers.last().is_some_and(|last| last.epoch == worker.epoch);
        let settled = worker.settle(&self.database, end, written()).await.unwrap();
        // The last worker may end its message twice, and is told so twice.
        let is_again = is_last && self.model.messages[at].status.is_settled();
        assert_eq!(settled.is_some(), has_room || is_again);
        if has_room {
            self.model.end(at, status);
            let day = &mut self.model.day;
            day.tokens += COST;
            if is_free && day.refunded < MESSAGES {
                day.used -= 1;
                day.refunded += 1;
            }
        }
    }

    async fn defer(&mut self, worker: Index, is_long: bool, has_written: bool) {
        let Some((worker, at, has_room)) = self.worker(worker) else { return };
        let delay = Duration::from_secs(if is_long { 3_600 } else { 0 });
        let written = if has_written { written() } else { Written::default() };
        worker.defer(&self.database, delay, Trouble::Other, &written).await.unwrap();
        if has_room {
            self.model.day.tokens += if has_written { COST } else { 0 };
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
                self.model.day.used -= i32::from(!expected.was_asked);
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

    /// Compares what is stored with the model, and the day with what may be had in one.
    async fn check(&self) {
        const STORED: &str = "
            select array(select status from messages where chatroom_id = $1 order by position) as statuses,
                   coalesce(sum(used), 0)::int4 as used, coalesce(sum(accepted), 0)::int4 as accepted,
                   coalesce(sum(refunded), 0)::int4 as refunded, coalesce(sum(tokens), 0)::int8 as tokens
            from daily_usage where user_id = $2";
        let row = self.database.query_one(STORED, &[&self.id, &self.owner.user]).await.unwrap();
        let expected: Vec<_> = self.model.messages.iter().map(|message| message.status).collect();
        assert_eq!(row.get::<_, Vec<Status>>("statuses"), expected);
        let day = Day {
            used: row.get("used"),
            accepted: row.get("accepted"),
            refunded: row.get("refunded"),
            tokens: row.get("tokens"),
            asked: self.model.day.asked,
        };
        assert_eq!(day, self.model.day);
        assert!(day.used >= day.asked - MESSAGES, "what was asked is owed, but for the refunds of a day: {day:?}");
        assert!(day.asked <= 2 * MESSAGES, "the model is asked about twice the limit at most: {day:?}");
        assert!(day.accepted <= MESSAGES * POSTS_PER_MESSAGE, "{day:?}");
    }
}

/// What the model has written when a worker ends its time with a message.
fn written() -> Written {
    Written { prompt_tokens: Some(10), reply_tokens: Some(20), ..Written::text("reply".into()) }
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
