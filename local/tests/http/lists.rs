//! The list of chatrooms, which is cached and yet never behind.

use futures_util::{StreamExt, stream};
use serde_json::Value;

use crate::stack::{Stack, User};

async fn list(user: &User<'_>) -> Vec<String> {
    let answer = user.get("/chatroom?limit=100").await;
    assert_eq!(answer.status, 200);
    let items = answer.body["items"].as_array().unwrap().iter();
    items
        .map(|room| format!("/chatroom/{}", room["id"].as_str().unwrap()))
        .collect()
}

pub async fn a_list_never_lacks_a_room_whose_creation_was_answered(stack: &Stack) {
    let user = &stack.user().await;
    // Two hundred requests, half of them creations, with others always on the way.
    stream::iter(0..100)
        .for_each_concurrent(8, |_| async move {
            let room = user.room().await;
            let rooms = list(user).await;
            assert!(
                rooms.contains(&room),
                "{room} was created, but is not in the list"
            );
        })
        .await;
    assert_eq!(list(user).await.len(), 100);
}

pub async fn a_message_moves_its_room_to_the_top_of_the_list(stack: &Stack) {
    let user = stack.user().await;
    let first = user.room().await;
    let second = user.room().await;
    assert_eq!(list(&user).await, [second.clone(), first.clone()]);
    user.post(&first, "hello").await;
    assert_eq!(list(&user).await, [first, second]);
}

pub async fn a_warm_list_runs_no_statement(stack: &Stack) {
    // Postgres counts for a whole database, so this one is nobody else's.
    let stack = stack.another(&[]).await;
    let database = stack.system.database().await.unwrap();
    database
        .batch_execute("create extension pg_stat_statements")
        .await
        .unwrap();
    let reads = async || -> i64 {
        let sql = "select coalesce(sum(calls), 0)::int8 from pg_stat_statements
                   where query like '%order by active_at desc%'
                     and dbid = (select oid from pg_database where datname = current_database())";
        database.query_one(sql, &[]).await.unwrap().get(0)
    };
    let user = stack.user().await;
    user.room().await;
    list(&user).await;
    let before = reads().await;
    assert!(before > 0, "the first list was read from Postgres");
    let (fresh, etag) = {
        let answer = user.get("/chatroom").await;
        (answer.body, answer.headers["etag"].clone())
    };
    assert_eq!(fresh["items"].as_array().unwrap().len(), 1);
    let known = user
        .request(reqwest::Method::GET, "/chatroom")
        .header("if-none-match", etag);
    let answer = user.send(known).await;
    assert_eq!((answer.status, answer.body), (304, Value::Null));
    assert_eq!(reads().await, before);
}
