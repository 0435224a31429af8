//! Tests statements that wait, collide or meet another server.

use std::future::pending;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Notify,
};

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

/// Returns a way to a database on which connections can be cut without the server's notice.
async fn behind_a_line(database: &Database) -> (Database, Arc<Notify>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (user, name) = (database.config.get_user().unwrap(), database.config.get_dbname().unwrap());
    let url = format!("postgres://{user}@{}/{name}", listener.local_addr().unwrap());
    let server = ("127.0.0.1", database.config.get_ports()[0]);
    let cut = Arc::new(Notify::new());
    let cuts = Arc::clone(&cut);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(server).await.unwrap();
            let cuts = Arc::clone(&cuts);
            tokio::spawn(async move {
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => return,
                    () = cuts.notified() => {}
                }
                drop(client);
                pending::<()>().await; // and the server's side stays open
            });
        }
    });
    (Database::at(&url).unwrap(), cut)
}

#[tokio::test]
async fn a_statement_whose_connection_was_lost_while_it_waits_for_a_lock_is_stored_once() {
    let database = testing::database().await;
    run(&database, &["create table notes (number int)", "insert into notes values (0)"]).await;
    run(&database, &["begin", "select * from notes for update"]).await;
    let watcher = database.another_connection();
    let (other, line) = behind_a_line(&database).await;
    let counted = tokio::spawn(async move { other.query("update notes set number = number + 1", &[]).await });
    let until_waiting = async |statements: &str| {
        let sql = format!("{WAITING} {statements}");
        while count(&watcher, &sql).await != 1 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    until_waiting("").await;
    let pid = format!("select pid::int8 from ({}) waiting", WAITING.replace("count(*)", "pid"));
    let pid = count(&watcher, &pid).await;
    line.notify_waiters();
    // Of two that wait, the first is cancelled.
    timeout(STATEMENT_TIMEOUT / 2, until_waiting(&format!("and pid <> {pid}"))).await.unwrap();
    timeout(STATEMENT_TIMEOUT / 2, until_waiting("")).await.expect("the lost one waits no more");
    run(&database, &["commit"]).await;
    counted.await.unwrap().unwrap();
    assert_eq!(count(&database, "select number::int8 from notes").await, 1);
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
