//! Fault 59: the worker of a stream dies, and its client comes again.

use std::{cell::Cell, convert::Infallible, time::Duration};

use futures_util::future::{join, join_all};
use local_suite::harness::{Stack, User};
use rustix::process::{Signal, kill_process};
use serde_json::json;
use tokio::time::sleep;

use super::{
    client::{Client, Ended, open, post},
    live::TEXT,
};
use crate::stops::{ACCEPT, Held, SETTLE, kill, process, signal, undo_waiting, until_waiting};

on_every_kind!(
    a_reply_whose_worker_was_killed_is_written_by_the_client_that_comes_again,
    whoever_dies_or_leaves_at_random_the_text_assembled_is_the_reply_stored,
);

const STREAM: &str = "message-stream";

/// How many clients there are at once, and how many messages each of them posts.
const CLIENTS: usize = 20;
const MESSAGES: usize = 10;

/// The slot of a stream that died is held for 25 seconds, in which its client may not come.
async fn free_slots(stack: &Stack) {
    stack.execute("update streams set expires_at = now()").await;
}

async fn die(stack: &Stack) {
    kill(stack, STREAM).await;
    free_slots(stack).await;
}

async fn is_answered(user: &User<'_>, room: &str, client: &Client) {
    assert_eq!(client.last(), "finish");
    let stored = user.reply(&client.message(room)).await;
    assert_eq!(client.text, stored);
}

/// Fault 59: a streaming worker is killed at any moment, and the client comes again.
pub async fn a_reply_whose_worker_was_killed_is_written_by_the_client_that_comes_again(stack: &Stack) {
    let stack = stack.another(&[]).await;
    stack.system.hide_logs();
    let user = stack.user().await;
    // Nobody but the client may take over.
    let _deliveries = stack.system.deliveries().pause().await;
    let _schedules = stack.system.schedules().pause().await;

    // Before the message is stored.
    let room = user.room().await;
    let lock = Held::row(&stack, &room).await;
    let dies = async {
        until_waiting(&stack, ACCEPT).await;
        die(&stack).await;
        undo_waiting(&stack, ACCEPT).await;
        lock.release().await;
    };
    let post_it = || post(&user, &room, "not stored", Some("key")).send();
    let (response, ()) = join(post_it(), dies).await;
    assert!(!response.is_ok_and(|response| response.status().is_success()));
    assert_eq!(user.used().await, 0);
    let mut client = Client::default();
    client.hear(post_it().await, usize::MAX).await;
    is_answered(&user, &room, &client).await;

    // Before the first word.
    let room = user.room().await;
    stack.script(&json!([{ "match": "no word", "delay_ms": 60_000 }])).await;
    let mut stream = open(post(&user, &room, "no word", None)).await;
    let mut client = Client::default();
    client.take(stream.next().await.unwrap());
    stack.called("no word").await;
    die(&stack).await;
    assert_eq!(client.read(&mut stream).await, Ended::Early);
    client.follow(&user, &room).await;
    is_answered(&user, &room, &client).await;
    assert_eq!((client.text.as_str(), client.restarts), ("echo: no word", 0));

    // In the middle of a reply, and two of its client's tabs come again at once.
    let room = user.room().await;
    let hang = json!([{ "match": "middle", "text": TEXT, "hang": true }]);
    stack.script(&hang).await;
    let mut stream = open(post(&user, &room, "middle", None)).await;
    let mut client = Client::default();
    client.read_some(&mut stream).await;
    die(&stack).await;
    assert_eq!(client.read(&mut stream).await, Ended::Early);
    let mut tabs = [client.clone(), client];
    join_all(tabs.iter_mut().map(|tab| tab.follow(&user, &room))).await;
    for tab in &tabs {
        is_answered(&user, &room, tab).await;
        assert_eq!((tab.text.as_str(), tab.restarts), ("echo: middle", 1));
    }

    // When everything is written but the end.
    let room = user.room().await;
    let slow = json!([{ "match": "almost", "text": TEXT, "pieces": 4, "pause_ms": 300 }]);
    stack.script(&slow).await;
    let mut stream = open(post(&user, &room, "almost", None)).await;
    let mut client = Client::default();
    client.read_some(&mut stream).await;
    let lock = Held::row(&stack, &client.message(&room)).await;
    until_waiting(&stack, SETTLE).await;
    die(&stack).await;
    undo_waiting(&stack, SETTLE).await;
    lock.release().await;
    assert_eq!(client.read(&mut stream).await, Ended::Early);
    assert_eq!(client.text, TEXT, "the client has it all, but not the end");
    client.follow(&user, &room).await;
    is_answered(&user, &room, &client).await;
    assert_eq!((client.text.as_str(), client.restarts), ("echo: almost", 1));

    // When the end is stored, but its client not told. What a stopped process has sent, Postgres executes.
    let room = user.room().await;
    let slow = json!([{ "match": "not told", "text": TEXT, "pieces": 4, "pause_ms": 300 }]);
    stack.script(&slow).await;
    let mut stream = open(post(&user, &room, "not told", None)).await;
    let mut client = Client::default();
    client.read_some(&mut stream).await;
    let message = client.message(&room);
    let lock = Held::row(&stack, &message).await;
    until_waiting(&stack, SETTLE).await;
    signal(&stack.system.pids(STREAM), Signal::STOP);
    lock.release().await;
    assert_eq!(user.reply(&message).await, TEXT);
    die(&stack).await;
    assert_eq!(client.read(&mut stream).await, Ended::Early);
    client.follow(&user, &room).await;
    is_answered(&user, &room, &client).await;
    assert_eq!(client.restarts, 0);

    for (prompt, calls) in [("not stored", 1), ("no word", 2), ("middle", 2), ("almost", 2), ("not told", 1)] {
        assert_eq!(stack.calls(prompt).await.len(), calls, "{prompt}");
    }
    assert_eq!(user.used().await, 5);
}

/// Fault 59: a streaming worker is killed at any moment, and the client comes again.
pub async fn whoever_dies_or_leaves_at_random_the_text_assembled_is_the_reply_stored(stack: &Stack) {
    let stack = stack.another(&[("ANSWER_LEASE_SECONDS", "1")]).await;
    stack.system.hide_logs();
    let users = join_all((0..CLIENTS).map(|_| stack.user())).await;
    let deaths = Cell::new(0);
    let clients = join_all(users.iter().map(|user| converse(&stack, user)));
    let restarts = tokio::select! {
        restarts = clients => restarts,
        never = kill_some(&stack, &deaths) => match never {},
    };
    let (replies, restarts) = (CLIENTS * MESSAGES, restarts.iter().sum::<usize>());
    let deaths = deaths.get();
    println!("{replies} replies, {restarts} begun anew, {deaths} deaths");
    assert!(restarts > 0 && deaths > 0, "nobody died of whom a reply was taken over");
}

/// Kills one process after another, and counts them. The fewer there are, the rarer it is that one dies: the last
/// client comes to its end as soon as the first.
async fn kill_some(stack: &Stack, deaths: &Cell<usize>) -> Infallible {
    loop {
        sleep(Duration::from_millis(fastrand::u64(25..200))).await;
        let pids = stack.system.pids(STREAM);
        if let Some(pid) = pids.get(fastrand::usize(..CLIENTS.max(pids.len()))) {
            let killed = kill_process(process(*pid), Signal::KILL); // it may be gone already
            deaths.set(deaths.get() + usize::from(killed.is_ok()));
            free_slots(stack).await;
        }
    }
}

/// Posts messages and leaves their streams at random. Returns how many replies began anew.
async fn converse(stack: &Stack, user: &User<'_>) -> usize {
    let room = user.room().await;
    let mut restarts = 0;
    for number in 0..MESSAGES {
        let prompt = format!("random {number} {}", user.id);
        let outcomes = [1, 2, 3, 4].map(|attempt| {
            let text = format!("{attempt}: {TEXT} {}", TEXT.repeat(fastrand::usize(0..20)));
            let (pieces, pause) = (fastrand::usize(2..20), fastrand::u64(0..120));
            json!({ "match": prompt, "text": text, "pieces": pieces, "pause_ms": pause })
        });
        stack.script(&json!(outcomes)).await;
        let key = number.to_string();
        let mut client = Client::default();
        while !client.is_over() {
            let response = if client.position.is_empty() {
                post(user, &room, &prompt, Some(&key)).send().await
            } else {
                client.get(user, &room).await
            };
            let leaves = fastrand::u32(..3) == 0;
            let limit = if leaves { fastrand::usize(..4_000) } else { usize::MAX };
            client.hear(response, limit).await;
        }
        is_answered(user, &room, &client).await;
        restarts += client.restarts;
    }
    restarts
}
