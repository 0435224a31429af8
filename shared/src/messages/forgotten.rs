//! Finds rooms that nobody works in although there is work: their wake-up was lost, or their worker died.

use std::time::Duration;

use super::{Lease, Result};
use crate::{
    database::Database,
    domain::{ChatroomId, UserId},
    queue::WakeUp,
};

/// Finds rooms in which the oldest unsettled message has been due for long while nobody held the room, longest first.
///
/// A wake-up that waits behind others looks the same as one that was lost. A room is therefore woken once, and again
/// only when that is long ago, when what is due has become due since, or when a worker has come and died since.
const FORGOTTEN: &str = "
    -- $1 seconds that work must have been waiting, $2 seconds between two wake-ups of a room
    select room.id, room.user_id
    from oldest_unsettled oldest
    join chatrooms room on room.user_id = oldest.user_id and room.id = oldest.chatroom_id
    where oldest.not_before < now() - make_interval(secs => $1)
      and (room.answering_until is null or room.answering_until < now())
      and (room.woken_at is null or room.woken_at < now() - make_interval(secs => $2)
           or room.woken_at < oldest.not_before or room.woken_at < room.answering_until)
    order by oldest.not_before
    limit 10000";

/// Remembers which rooms were woken.
const WOKEN: &str = "
    -- $1 users, $2 their rooms
    update chatrooms set woken_at = now()
    from unnest($1::uuid[], $2::uuid[]) as woken (user_id, id)
    where chatrooms.user_id = woken.user_id and chatrooms.id = woken.id";

/// Forgets that the sweep ever woke a room, so that it does so soon.
const LEAVE_TO_THE_SWEEP: &str = "
    -- $1 user, $2 room
    update chatrooms set woken_at = null where user_id = $1 and id = $2";

/// Finds the rooms whose work has been waiting `waiting` long, without those that were woken less than `again` ago.
///
/// # Errors
/// When Postgres fails.
pub async fn forgotten(database: &Database, waiting: Duration, again: Duration) -> Result<Vec<WakeUp>> {
    let rows = database.query(FORGOTTEN, &[&waiting.as_secs_f64(), &again.as_secs_f64()]).await?;
    let rooms = rows.iter().map(|row| WakeUp { user_id: row.get("user_id"), chatroom_id: row.get("id") });
    Ok(rooms.collect())
}

/// Remembers that rooms were woken.
///
/// # Errors
/// When Postgres fails.
pub async fn woken(database: &Database, rooms: &[WakeUp]) -> Result<()> {
    let users: Vec<UserId> = rooms.iter().map(|room| room.user_id).collect();
    let rooms: Vec<ChatroomId> = rooms.iter().map(|room| room.chatroom_id).collect();
    database.query(WOKEN, &[&users, &rooms]).await.map(drop)
}

impl Lease {
    /// Lets the next sweep wake the room, whose wake-up could not be sent.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn leave_to_the_sweep(&self, database: &Database) -> Result<()> {
        database.query(LEAVE_TO_THE_SWEEP, &[&self.user, &self.chatroom]).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    //! Tests that the sweep's statements read no more than they must.

    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn no_table_is_read_from_end_to_end() {
        let database = testing::database().await;
        testing::crowd(&database).await;
        let forgotten = testing::plan(&database, FORGOTTEN, &[&30.0, &600.0]).await;
        assert!(forgotten.contains("unsettled_messages"), "{forgotten}");
        let (users, rooms) = (vec![UserId::new(); 10], vec![ChatroomId::new(); 10]);
        let woken = testing::plan(&database, WOKEN, &[&users, &rooms]).await;
        for plan in [forgotten, woken] {
            assert!(!plan.contains("Seq Scan"), "{plan}");
        }
    }
}
