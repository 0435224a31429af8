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
            let row = database.query_one(TAKE, &[&user, &stream, &seconds, &SLOTS]).await?;
            if let Some(number) = row.get("slot") {
                return Ok(Self { user, number, stream });
            }
            if row.get("is_full") {
                return Err(Error::OverLimit(OverLimit {
                    policy: "open-streams",
                    detail: "You have as many streams open as you may. One that you closed counts until its reply is \
                             written, or for a minute. Try again shortly.",
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
        let prolonged = database.query(PROLONG, &[&self.user, &self.number, &self.stream, &seconds]).await;
        if let Err(error) = prolonged {
            warn!(error = %Chain(&error), "a stream's slot was not prolonged");
        }
    }

    /// Frees the slot. If that fails, the slot is free when its lease is over.
    pub async fn give_back(self, database: &Database) {
        let given_back = database.query(GIVE_BACK, &[&self.user, &self.number, &self.stream]).await;
        if let Err(error) = given_back {
            warn!(error = %Chain(&error), "a stream's slot was not given back");
        }
    }
}

#[cfg(test)]
mod tests {
    //! However many ask at once, three have a slot.

    use futures_util::future::join_all;
    use shared::{database::Parameter, testing};

    use super::*;

    async fn take(database: &Database, user: UserId) -> Option<Slot> {
        match Slot::take(database, user).await {
            Ok(slot) => Some(slot),
            Err(Error::OverLimit(_)) => None,
            Err(error) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn of_twenty_streams_at_once_three_get_a_slot_and_another_user_gets_one_too() {
        let database = testing::database().await;
        let user = testing::user(&database).await.user;
        let other = testing::user(&database).await.user;
        let takes = (0..20).map(|_| {
            let database = database.another_connection();
            async move { take(&database, user).await }
        });
        let slots: Vec<_> = join_all(takes).await.into_iter().flatten().collect();
        let mut numbers: Vec<_> = slots.iter().map(|slot| slot.number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3]);
        assert!(take(&database, other).await.is_some());
    }

    #[tokio::test]
    async fn a_slot_is_free_when_it_is_given_back_or_its_lease_is_over_and_not_before() {
        let database = testing::database().await;
        let user = testing::user(&database).await.user;
        let mut slots = Vec::new();
        for _ in 0..SLOTS {
            slots.extend(take(&database, user).await);
        }
        assert!(take(&database, user).await.is_none());
        slots.remove(1).give_back(&database).await;
        slots.extend(take(&database, user).await);
        assert!(take(&database, user).await.is_none());

        let late = "update streams set expires_at = now() + interval '1 second'";
        database.query(late, &[]).await.unwrap();
        slots[0].prolong(&database).await;
        let over = "update streams set expires_at = now() where expires_at < now() + interval '2 seconds'";
        database.query(over, &[]).await.unwrap();
        let free = [take(&database, user).await, take(&database, user).await];
        assert!(free.iter().all(Option::is_some));
        assert!(take(&database, user).await.is_none(), "one was prolonged");
        // Who lost a slot does not give back what is somebody else's by now.
        for slot in slots.drain(1..) {
            slot.give_back(&database).await;
        }
        assert!(take(&database, user).await.is_none());
    }

    #[tokio::test]
    async fn among_ten_thousand_users_a_slot_is_found_by_an_index() {
        let database = testing::database().await;
        testing::crowd(&database).await;
        let user = testing::user(&database).await.user;
        let (stream, seconds, number) = (StreamId::new(), 25.0, 1);
        let statements: [(&str, &[&dyn Parameter]); 3] = [
            (TAKE, &[&user, &stream, &seconds, &SLOTS]),
            (PROLONG, &[&user, &number, &stream, &seconds]),
            (GIVE_BACK, &[&user, &number, &stream]),
        ];
        for (sql, parameters) in statements {
            let plan = testing::plan(&database, sql, parameters).await;
            assert!(!plan.contains("Seq Scan"), "{plan}");
        }
    }

    #[tokio::test]
    async fn a_statement_that_is_sent_twice_takes_one_slot() {
        let database = testing::database().await;
        let user = testing::user(&database).await.user;
        let stream = StreamId::new();
        for _ in 0..2 {
            let parameters: [&dyn Parameter; 4] = [&user, &stream, &25.0, &SLOTS];
            let row = database.query_one(TAKE, &parameters).await.unwrap();
            assert_eq!(row.get::<_, Option<i32>>("slot"), Some(1));
        }
    }
}
