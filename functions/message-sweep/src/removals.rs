//! Removes the messages of deleted chatrooms and accounts.
//!
//! A room or an account is gone at once, with one short statement, and nothing finds a message without its room. The
//! messages themselves, of which there may be millions, follow here in portions. Each portion is a statement of its
//! own, so a run that ends in between leaves the rest to the next one.

use std::time::{Duration, Instant};

use shared::database::{self, Database};

/// Limits the messages of a portion. A thousand of the largest ones are a gigabyte.
const PORTION: i64 = 1_000;

/// Removes a portion of one removal's messages, and the removal with its last portion. Another sweep at the same time
/// takes another removal.
const REMOVE: &str = "
    -- $1 most messages
    with removal as (
        select user_id, chatroom_id from removals order by requested_at limit 1 for update skip locked
    ), portion as (
        (select messages.user_id, messages.id
         from removal join messages using (user_id, chatroom_id)
         limit $1)
        union all
        (select messages.user_id, messages.id
         from removal join messages using (user_id)
         where removal.chatroom_id is null
         limit $1)
    ), removed as (
        delete from messages
        using portion
        where messages.user_id = portion.user_id and messages.id = portion.id
    ), finished as (
        delete from removals
        using removal
        where removals.user_id = removal.user_id and removals.chatroom_id is not distinct from removal.chatroom_id
          and (select count(*) from portion) < $1
    )
    select count(*) as messages, exists (select from removal) as found from portion";

/// Removes messages until none are left, or until `time` is over and the portion under way is done. Returns how many.
pub async fn remove(database: &Database, time: Duration) -> Result<i64, database::Error> {
    let start = Instant::now();
    let mut removed = 0;
    while start.elapsed() < time {
        let row = database.query_one(REMOVE, &[&PORTION]).await?;
        if !row.get::<_, bool>("found") {
            break;
        }
        removed += row.get::<_, i64>("messages");
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    //! Tests that removals end, take their own messages only, and take them in portions.

    use shared::testing;

    use super::*;

    async fn count(database: &Database, rows: &str) -> i64 {
        database.query_one(&format!("select count(*) from {rows}"), &[]).await.unwrap().get(0)
    }

    /// A database with a deleted account and a deleted room, of eight messages each, and eight that stay.
    async fn deleted() -> Database {
        let database = testing::database().await;
        for change in [
            "delete from users where id = $1",
            "delete from chatrooms where user_id = $1 and title = 'Test'",
            "update chatrooms set title = 'Stays' where user_id = $1",
        ] {
            let owner = testing::user(&database).await;
            let room = testing::chatroom(&database, owner).await;
            for _ in 0..8 {
                testing::message(&database, owner, room, "hello").await;
            }
            database.query(change, &[&owner.user]).await.unwrap();
            let account = change.starts_with("delete from users");
            let removal = "insert into removals (user_id, chatroom_id) values ($1, $2)";
            let room = Some(room).filter(|_| !account);
            if change.starts_with("delete") {
                database.query(removal, &[&owner.user, &room]).await.unwrap();
            }
        }
        database
    }

    #[tokio::test]
    async fn messages_without_their_room_go_and_no_others() {
        let database = deleted().await;
        assert_eq!(remove(&database, Duration::from_secs(10)).await.unwrap(), 16);
        assert_eq!(count(&database, "messages").await, 8);
        assert_eq!(count(&database, "messages join chatrooms on chatrooms.id = chatroom_id").await, 8);
        assert_eq!(count(&database, "removals").await, 0);
    }

    #[tokio::test]
    async fn a_run_that_ends_after_any_portion_is_continued_by_the_next() {
        let database = deleted().await;
        let mut left = vec![count(&database, "messages").await];
        // The last portion of each removal is not full: it is how the removal is known to be done.
        for _ in 0..6 {
            let portion: i64 = database.query_one(REMOVE, &[&3_i64]).await.unwrap().get("messages");
            assert!(portion <= 3, "{portion} at once");
            left.push(count(&database, "messages").await);
        }
        assert_eq!(left, [24, 21, 18, 16, 13, 10, 8]);
        assert_eq!(count(&database, "removals").await, 0);
        let row = database.query_one(REMOVE, &[&3_i64]).await.unwrap();
        assert!(!row.get::<_, bool>("found"));
    }

    #[tokio::test]
    async fn a_portion_reads_no_table_from_end_to_end() {
        let database = testing::database().await;
        testing::crowd(&database).await;
        let plan = testing::plan(&database, REMOVE, &[&PORTION]).await;
        let scans = plan.lines().filter(|line| line.contains("Seq Scan"));
        // Nobody was deleted lately, so this table is empty, and reading it is the fastest way.
        let scans: Vec<_> = scans.filter(|line| !line.contains("removals")).collect();
        assert!(scans.is_empty(), "{plan}");
    }
}
