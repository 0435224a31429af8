//! Holds the life of a message: every statement that changes one, or follows it to its end.
//!
//! ```text
//!                    stop
//!          ┌──────────────────────────────────────────────┐
//!          │                                              ▼
//! accept ──▶ queued ──── claim ────▶ answering ─ settle ─▶ failed
//!              ▲                      │   │  │
//!              └──────── defer ───────┘   │  └─── settle ─▶ answered
//!                                         │
//!                 claim, when the lease of a dead worker is over:
//!                 the message stays answering, for another worker
//! ```
//!
//! | Statement | From | To | Who may |
//! | --- | --- | --- | --- |
//! | [`accept`](Posting::accept) | nothing | queued | the room's owner, within the day's limit |
//! | [`claim`](Claim::attempt) | queued, answering | answering | anybody, if the room is free and its oldest is due |
//! | [`checkpoint`](Lease::checkpoint) | answering | answering, with a longer draft and lease | the lease's holder |
//! | [`settle`](Lease::settle) | answering | answered, failed | the lease's holder |
//! | [`defer`](Lease::defer) | answering | queued, not due for a while | the lease's holder |
//! | [`stop`] | queued | failed | the owner |
//! | [`stop`] | answering | answering, marked: its worker or the next one settles it | the owner |
//! | [`attach`], [`look`] | any | the same | the owner |
//! | [`forgotten`] | unsettled | the same | the sweep, which wakes the room |
//!
//! Answered and failed are settled: nothing changes a message any more. One that is not settled is *unsettled*, which
//! the schema defines, as it does the `oldest_unsettled` message of a room. Only that one is ever claimed, so a room's
//! messages are answered in order. A message that waits because of its delay holds back the later ones.
//!
//! One room has one worker. A claim takes the room with a lease and a fencing number, the epoch; every later write of
//! the worker carries the epoch, and changes nothing once another claim has raised it.
//!
//! A message is read from the whole row, by [`Message::from`]: there is no list of columns that could lack one.

mod accept;
mod checkpoint;
mod claim;
mod forgotten;
mod look;
mod position;
mod settle;
mod stop;

#[cfg(test)]
mod tests;

use tokio_postgres::Row;

use crate::{
    database,
    domain::{Failure, Message, Reply, Status},
};

pub use accept::{Accepted, Post, Posting};
pub use claim::{Claim, Lease, Terms};
pub use forgotten::{forgotten, woken};
pub use look::{Attached, Look, attach, look};
pub use position::Position;
pub use settle::{End, Settled};
pub use stop::{Stopped, stop};

type Result<T> = std::result::Result<T, database::Error>;

impl From<&Row> for Message {
    fn from(row: &Row) -> Self {
        let status = row.get("status");
        let draft: Option<String> = row.get("draft");
        let reply = row.get::<_, Option<String>>("reply").map(|content| Reply {
            content,
            model: row.get("model"),
            finish_reason: row.get("finish_reason"),
            created_at: row.get("settled_at"),
        });
        Self {
            id: row.get("id"),
            chatroom_id: row.get("chatroom_id"),
            content: row.get("content"),
            status,
            created_at: row.get("created_at"),
            // A message to be stopped keeps its draft while it waits for the worker that settles it.
            draft: draft.filter(|_| status == Status::Answering),
            reply,
            failure: row.get::<_, Option<String>>("failure").map(Failure::from),
        }
    }
}
