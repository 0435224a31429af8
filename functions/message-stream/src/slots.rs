//! Bounds the streams that a user has open at once: each holds one of a few slots.
//!
//! Nobody tells a function that its client is gone, so the streams of a page that was loaded again still hold theirs.
//! Therefore the newest reader wins: it takes over the slot of the oldest one, or of one that reads the same message.
//! Who lost a slot learns so when it prolongs it, and ends. A slot whose connection answers a message is never taken
//! over: its client may be gone, but its message is not.
//!
//! A slot is leased, so that one whose function died is free again soon.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use shared::{
    Error, Result,
    database::{Database, Parameter},
    domain::{MessageId, StreamId, UserId},
    error::OverLimit,
    telemetry::Chain,
};
use tracing::warn;

/// How long a slot is held without being prolonged.
const LEASE: Duration = Duration::from_secs(25);

/// Takes a free slot, or the one of a reader, unless the account is gone: locking its row sees a deletion that commits
/// meanwhile. Two that take the same slot at once find that only one of them has it, so the other one looks again while
/// there is one to take. A statement that is sent twice finds the slot that it took.
const TAKE: &str = "
    -- $1 user, $2 stream, $3 seconds of the lease, $4 slots, $5 message, $6 whether the connection answers it
    with owner as (
        select id from users where id = $1 for key share
    ), held as (
        select * from streams where user_id = $1 and expires_at > now()
    ), free as (
        select slot, null::uuid as id
        from generate_series(1, $4) slot
        where slot not in (select slot from held)
        order by slot limit 1
    ), oldest as (
        select slot, id
        from held
        where not is_working and not exists (select from free)
        order by (message_id = $5) is true desc, opened_at limit 1
    ), taken as (
        insert into streams as stream (user_id, slot, id, message_id, is_working, expires_at)
        select owner.id, slot, $2, $5, $6, now() + make_interval(secs => $3)
        from owner, (select * from free union all select * from oldest) choice
        where not exists (select from held where id = $2)
        on conflict (user_id, slot) do update
        set id = excluded.id, message_id = excluded.message_id, is_working = excluded.is_working,
            opened_at = now(), expires_at = excluded.expires_at
        where stream.expires_at <= now() or stream.id = (select id from oldest) and not stream.is_working
        returning slot
    )
    select (select slot from taken union all select slot from held where id = $2) as slot,
           (select count(*) from held where is_working) >= $4 as is_full, exists (select from owner) as has_owner";

const PROLONG: &str = "
    -- $1 user, $2 slot, $3 stream, $4 seconds of the lease, $5 whether the connection answers a message
    update streams set expires_at = now() + make_interval(secs => $4), is_working = $5
    where user_id = $1 and slot = $2 and id = $3
    returning slot";

const GIVE_BACK: &str = "
    -- $1 user, $2 slot, $3 stream
    delete from streams where user_id = $1 and slot = $2 and id = $3";

/// A slot that a stream holds.
pub struct Slot {
    user: UserId,
    number: i32,
    stream: StreamId,
    is_working: AtomicBool,
    is_lost: AtomicBool,
}

impl Slot {
    /// Takes one of the user's `slots`, for a connection that reads a message or answers one.
    ///
    /// # Errors
    /// [`Error::AccountGone`] when the account was deleted, [`Error::OverLimit`] when all slots answer messages.
    pub async fn take(
        database: &Database,
        user: UserId,
        slots: i32,
        message: Option<MessageId>,
        is_working: bool,
    ) -> Result<Self> {
        let stream = StreamId::new();
        let seconds = LEASE.as_secs_f64();
        loop {
            let row = database.query_one(TAKE, &[&user, &stream, &seconds, &slots, &message, &is_working]).await?;
            if let Some(number) = row.get("slot") {
                return Ok(Self {
                    user,
                    number,
                    stream,
                    is_working: is_working.into(),
                    is_lost: AtomicBool::default(),
                });
            }
            if !row.get::<_, bool>("has_owner") {
                return Err(Error::AccountGone);
            }
            if row.get("is_full") {
                return Err(Error::OverLimit(OverLimit {
                    policy: "open-streams",
                    detail: "As many of your messages are being answered as streams may be open. Try again shortly.",
                    limit: slots.unsigned_abs(),
                    window: LEASE,
                    retry_after: Duration::from_secs(5),
                }));
            }
        }
    }

    /// Keeps the slot from newer readers, since its connection has begun to answer a message.
    pub async fn work(&self, database: &Database) {
        if !self.is_working.swap(true, Ordering::Relaxed) {
            self.prolong(database).await;
        }
    }

    /// Holds the slot for longer. It is no harm if that fails once.
    pub async fn prolong(&self, database: &Database) {
        let (seconds, is_working) = (LEASE.as_secs_f64(), self.is_working.load(Ordering::Relaxed));
        let parameters: [&dyn Parameter; 5] = [&self.user, &self.number, &self.stream, &seconds, &is_working];
        match database.query(PROLONG, &parameters).await {
            Ok(rows) => self.is_lost.store(rows.is_empty(), Ordering::Relaxed),
            Err(error) => warn!(error = %Chain(&error), "a stream's slot was not prolonged"),
        }
    }

    /// Returns whether a newer reader has the slot.
    pub fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Frees the slot. If that fails, the slot is free when its lease is over.
    pub async fn give_back(&self, database: &Database) {
        let given_back = database.query(GIVE_BACK, &[&self.user, &self.number, &self.stream]).await;
        if let Err(error) = given_back {
            warn!(error = %Chain(&error), "a stream's slot was not given back");
        }
    }
}

#[cfg(test)]
mod tests {
    //! Who has a slot, however many want one.

    use futures_util::future::{join, join_all};
    use shared::testing;

    use super::*;

    const SLOTS: i32 = 3;

    async fn take(database: &Database, user: UserId, is_working: bool) -> Option<Slot> {
        match Slot::take(database, user, SLOTS, Some(MessageId::new()), is_working).await {
            Ok(slot) => Some(slot),
            Err(Error::OverLimit(_)) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether each slot is lost, once it was prolonged.
    async fn lost(database: &Database, slots: &[Slot]) -> Vec<bool> {
        for slot in slots {
            slot.prolong(database).await;
        }
        slots.iter().map(Slot::is_lost).collect()
    }

    #[tokio::test]
    async fn of_twenty_workers_at_once_three_get_a_slot_and_another_user_gets_one_too() {
        let database = testing::database().await;
        let user = testing::user(&database).await.user;
        let other = testing::user(&database).await.user;
        let takes = (0..20).map(|_| {
            let database = database.another_connection();
            async move { take(&database, user, true).await }
        });
        let slots: Vec<_> = join_all(takes).await.into_iter().flatten().collect();
        let mut numbers: Vec<_> = slots.iter().map(|slot| slot.number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3]);
        assert!(take(&database, other, true).await.is_some());
    }

    #[tokio::test]
    async fn of_twenty_readers_at_once_all_get_a_slot_and_three_keep_it() {
        let database = testing::database().await;
        let user = testing::user(&database).await.user;
        let takes = (0..20).map(|_| {
            let database = database.another_connection();
            async move { take(&database, user, false).await.unwrap() }
        });
        let slots = join_all(takes).await;
        let lost = lost(&database, &slots).await;
        assert_eq!(lost.iter().filter(|is_lost| !**is_lost).count(), 3);
    }

    #[tokio::test]
    async fn a_new_reader_takes_the_oldest_readers_slot_and_never_a_workers() {
        let database = testing::database().await;
        let user = testing::user(&database).await.user;
        let mut slots = Vec::new();
        for is_working in [true, false, false, false, false] {
            slots.extend(take(&database, user, is_working).await);
        }
        assert_eq!(lost(&database, &slots).await, [false, true, true, false, false]);
        slots[3].work(&database).await;
        slots[4].work(&database).await;
        assert!(take(&database, user, false).await.is_none(), "all of them work by now");
    }

    #[tokio::test]
    async fn a_reader_that_comes_again_takes_its_own_slot() {
        let database = testing::database().await;
        let user = testing::user(&database).await.user;
        let messages = [MessageId::new(), MessageId::new(), MessageId::new()];
        let mut slots = Vec::new();
        for message in messages.into_iter().chain([messages[1]]) {
            slots.push(Slot::take(&database, user, SLOTS, Some(message), false).await.unwrap());
        }
        assert_eq!(lost(&database, &slots).await, [false, true, false, false]);
    }

    #[tokio::test]
    async fn a_slot_is_free_when_it_is_given_back_or_its_lease_is_over_and_not_before() {
        let database = testing::database().await;
        let user = testing::user(&database).await.user;
        let mut slots = Vec::new();
        for _ in 0..SLOTS {
            slots.extend(take(&database, user, true).await);
        }
        assert!(take(&database, user, true).await.is_none());
        slots.remove(1).give_back(&database).await;
        slots.extend(take(&database, user, true).await);
        assert!(take(&database, user, true).await.is_none());

        let late = "update streams set expires_at = now() + interval '1 second'";
        database.query(late, &[]).await.unwrap();
        slots[0].prolong(&database).await;
        let over = "update streams set expires_at = now() where expires_at < now() + interval '2 seconds'";
        database.query(over, &[]).await.unwrap();
        let free = [take(&database, user, true).await, take(&database, user, true).await];
        assert!(free.iter().all(Option::is_some));
        assert!(take(&database, user, true).await.is_none(), "one was prolonged");
        // Who lost a slot does not give back what is somebody else's by now.
        for slot in slots.drain(1..) {
            slot.give_back(&database).await;
        }
        assert!(take(&database, user, true).await.is_none());
    }

    #[tokio::test]
    async fn among_ten_thousand_users_a_slot_is_found_by_an_index() {
        let database = testing::database().await;
        testing::crowd(&database).await;
        let user = testing::user(&database).await.user;
        let (stream, message, seconds, number) = (StreamId::new(), MessageId::new(), 25.0, 1);
        let statements: [(&str, &[&dyn Parameter]); 3] = [
            (TAKE, &[&user, &stream, &seconds, &SLOTS, &message, &true]),
            (PROLONG, &[&user, &number, &stream, &seconds, &true]),
            (GIVE_BACK, &[&user, &number, &stream]),
        ];
        for (sql, parameters) in statements {
            let plan = testing::plan(&database, sql, parameters).await;
            assert!(!plan.contains("Seq Scan"), "{plan}");
        }
    }

    #[tokio::test]
    async fn a_deleted_account_gets_no_slot_even_if_it_is_deleted_at_the_same_moment() {
        const WAITING: &str = "select count(*) from pg_stat_activity
                               where datname = current_database() and wait_event_type = 'Lock'";
        let database = testing::database().await;
        let user = testing::user(&database).await.user;
        let other = database.another_connection();
        for sql in ["begin", "delete from users"] {
            other.query(sql, &[]).await.unwrap();
        }
        let meanwhile = async {
            let watcher = database.another_connection();
            while watcher.query_one(WAITING, &[]).await.unwrap().get::<_, i64>(0) == 0 {}
            other.query("commit", &[]).await.unwrap();
        };
        let (taken, ()) = join(Slot::take(&database, user, SLOTS, None, true), meanwhile).await;
        assert!(matches!(taken, Err(Error::AccountGone)));
        let taken = Slot::take(&database, user, SLOTS, None, true).await;
        assert!(matches!(taken, Err(Error::AccountGone)));
    }

    #[tokio::test]
    async fn a_statement_that_is_sent_twice_takes_one_slot() {
        let database = testing::database().await;
        let user = testing::user(&database).await.user;
        let (stream, message) = (StreamId::new(), MessageId::new());
        for _ in 0..2 {
            let parameters: [&dyn Parameter; 6] = [&user, &stream, &25.0, &SLOTS, &message, &false];
            let row = database.query_one(TAKE, &parameters).await.unwrap();
            assert_eq!(row.get::<_, Option<i32>>("slot"), Some(1));
        }
    }
}
