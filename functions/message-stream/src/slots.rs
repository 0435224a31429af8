//! Bounds the streams that a user has open at once: each holds one of a few slots.
//!
//! A slot is leased, so that one whose function died is free again soon.

use std::time::Duration;

use shared::{
    Error, Result,
    database::Database,
    domain::{StreamId, UserId},
    error::OverLimit,
    telemetry::Chain,
};
use tracing::warn;

/// How many streams a user may have open at once.
const SLOTS: i32 = 3;

/// How long a slot is held without being prolonged.
const LEASE: Duration = Duration::from_secs(25);

/// Takes a free slot. Two that take the same one at once find that only one of them has it, so the other one looks
/// again while there are free ones. A statement that is sent twice finds the slot that it took.
const TAKE: &str = "
    -- $1 user, $2 stream, $3 seconds of the lease, $4 slots
    with held as (
        select slot, id from streams where user_id = $1 and expires_at > now()
    ), taken as (
        insert into streams as stream (user_id, slot, id, expires_at)
        select $1, slot, $2, now() + make_interval(secs => $3)
        from generate_series(1, $4) slot
        where slot not in (select slot from held) and not exists (select from held where id = $2)
        order by slot limit 1
        on conflict (user_id, slot) do update set id = excluded.id, expires_at = excluded.expires_at
        where stream.expires_at <= now()
        returning slot
    )
    select (select slot from taken union all select slot from held where id = $2) as slot,
           (select count(*) from held) >= $4 as is_full";

const PROLONG: &str = "
    -- $1 user, $2 slot, $3 stream, $4 seconds of the lease
    update streams set expires_at = now() + make_interval(secs => $4)
    where user_id = $1 and slot = $2 and id = $3";

const GIVE_BACK: &str = "
    -- $1 user, $2 slot, $3 stream
    delete from streams where user_id = $1 and slot = $2 and id = $3";

/// A slot that a stream holds.
pub struct Slot {
    user: UserId,
    number: i32,
    stream: StreamId,
}

impl Slot {
    /// Takes one of the user's slots.
    ///
    /// # Errors
    /// [`Error::OverLimit`] when the user has as many streams open as there may be.
    pub async fn take(database: &Database, user: UserId) -> Result<Self> {
        let stream = StreamId::new();
        let seconds = LEASE.as_secs_f64();
        loop {
            let row = database
                .query_one(TAKE, &[&user, &stream, &seconds, &SLOTS])
                .await?;
            if let Some(number) = row.get("slot") {
                return Ok(Self {
                    user,
                    number,
                    stream,
                });
            }
            if row.get("is_full") {
                return Err(Error::OverLimit(OverLimit {
                    policy: "open-streams",
                    detail: "You have as many streams open as you may. Close one, or try again shortly.",
                    limit: SLOTS.unsigned_abs(),
                    window: LEASE,
                    retry_after: Duration::from_secs(5),
                }));
            }
        }
    }

    /// Holds the slot for longer. It is no harm if that fails once.
    pub async fn prolong(&self, database: &Database) {
        let seconds = LEASE.as_secs_f64();
        let prolonged = database
            .query(PROLONG, &[&self.user, &self.number, &self.stream, &seconds])
            .await;
        if let Err(error) = prolonged {
            warn!(error = %Chain(&error), "a stream's slot was not prolonged");
        }
    }

    /// Frees the slot. If that fails, the slot is free when its lease is over.
    pub async fn give_back(self, database: &Database) {
        let given_back = database
            .query(GIVE_BACK, &[&self.user, &self.number, &self.stream])
            .await;
        if let Err(error) = given_back {
            warn!(error = %Chain(&error), "a stream's slot was not given back");
        }
    }
}
