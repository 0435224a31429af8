//! Tests statements that wait, collide or meet another server.

use super::*;
use crate::testing;

const WAITING: &str = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'";

async fn count(database: &Database, sql: &str) -> i64 {
    database.query_one(sql, &[]).await.unwrap().get(0)
}

/// Runs statements on a connection whose transaction stays open between them.
async fn run(database: &Database, statements: &[&str]) {
    for sql in statements {
        database.query(sql, &[]).await.unwrap();
    }
}

#[tokio::test]
async fn a_statement_given_up_while_it_waits_for_a_lock_is_cancelled_and_not_stored_later() {
    let database = Database { statement_timeout: Duration::from_millis(300), ..testing::database().await };
    run(&database, &["create table notes (id int primary key, text text)"]).await;
    run(&database, &["insert into notes values (1, 'before')"]).await;
    let holder = Database { statement_timeout: STATEMENT_TIMEOUT, ..database.another_connection() };
    run(&holder, &["begin", "select * from notes for update"]).await;

    let outcome = database.query("update notes set text = 'late'", &[]).await;
    assert!(matches!(outcome, Err(Error::Unavailable(_))), "{outcome:?}");
    assert_eq!(count(&holder, WAITING).await, 0, "it waits no more");
    run(&holder, &["commit"]).await;

    assert_eq!(count(&holder, "select count(*) from notes where text = 'late'").await, 0);
    run(&database, &["update notes set text = 'again'"]).await;
    let connections = "select count(*) from pg_stat_activity where datname = current_database()";
    assert_eq!(count(&database, connections).await, 2, "the connection is still good");
}

#[tokio::test]
async fn statements_that_deadlock_both_succeed() {
    let database = testing::database().await;
    run(&database, &["create table notes (id int primary key, number int)"]).await;
    run(&database, &["insert into notes values (1, 0), (2, 0)"]).await;
    // Each statement locks one row, sleeps, and then wants the other's.
    let both = |first: i32, second: i32| {
        format!(
            "with one as (update notes set number = number + 1 where id = {first} returning pg_sleep(0.3))
             update notes set number = number + 1 from one where id = {second}"
        )
    };
    let (forth, back) = (both(1, 2), both(2, 1));
    let other = database.another_connection();
    let (forth, back) = tokio::join!(database.query(&forth, &[]), other.query(&back, &[]));
    forth.unwrap();
    back.unwrap();
    assert_eq!(count(&database, "select sum(number) from notes").await, 4);
}

#[tokio::test]
async fn a_server_that_became_read_only_is_left_for_the_new_primary() {
    let database = testing::database().await;
    run(&database, &["create table notes (id int)", "set default_transaction_read_only = on"]).await;
    run(&database, &["insert into notes values (1)"]).await;
    assert_eq!(count(&database, "select count(*) from notes").await, 1);
}
