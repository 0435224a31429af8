//! Replies while they are written, by whoever is there.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::{
    future::{join, join_all},
    join,
};
use local_suite::harness::{Stack, User, until};
use serde_json::json;
use tokio::time::timeout;

use super::client::{Client, Ended, Stream, open, post};
use crate::{
    auth::another_session,
    stops::{id, without_workers},
};

on_every_kind!(
    a_client_that_is_gone_at_once_finds_its_message_answered,
    a_message_that_fails_says_why_and_ends,
    a_reply_that_breaks_off_is_begun_anew_and_never_mixed_with_the_next,
    a_stream_answers_the_messages_before_its_own_in_order,
    a_post_that_is_repeated_is_one_message_and_both_get_its_whole_reply,
    a_stream_that_has_nothing_yet_waits_for_the_next_try,
    nobody_is_woken_while_a_stream_has_its_room_and_a_worker_when_it_hands_over,
    readers_of_one_message_get_one_text_and_gemini_one_call,
    words_come_as_the_model_writes_them_and_the_end_is_what_is_stored,
);

on!(sqs:
    a_client_that_leaves_anywhere_in_a_reply_goes_on_where_it_left,
    a_fourth_stream_at_once_is_refused_and_stores_nothing,
    a_stream_in_which_nothing_comes_is_kept_open,
    a_stream_is_refused_before_it_begins_as_any_request_is,
    of_five_readers_at_once_all_read_and_three_stay,
    a_page_that_is_loaded_ten_times_within_one_reply_reads_each_time,
    who_polls_sees_the_draft_of_a_reply_that_is_being_written,
);

/// The stream of a room in which nothing is being answered.
const NOTHING: &str = ":\n\ndata: [DONE]\n\n";

/// A text whose pieces end between characters of one to four bytes.
pub const TEXT: &str = "Grüße aus Köln 🌉🚋 — 上海和东京 ✨ naïve café";

pub async fn words_come_as_the_model_writes_them_and_the_end_is_what_is_stored(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let prompt = format!("live {}", user.id);
    let slow = json!([{ "match": prompt, "text": TEXT, "pieces": 8, "pause_ms": 150 }]);
    stack.script(&slow).await;
    let mut stream = open(post(&user, &room, &prompt, None)).await;

    let mut client = Client::default();
    client.read_some(&mut stream).await;
    let path = client.message(&room);
    let meanwhile = user.get(&path).await.expect(200);
    assert_eq!(meanwhile["status"], "answering", "words come before the end");

    let (rest, ended) = stream.rest().await;
    for event in rest {
        client.take(event);
    }
    assert_eq!(ended, Ended::Done);
    let stored = user.get(&path).await.expect(200);
    assert_eq!(stored["reply"]["content"], TEXT);
    assert_eq!(client.text, TEXT);
    let kinds: Vec<_> = client.events.iter().map(|event| event["type"].clone()).collect();
    let deltas = vec![json!("text-delta"); kinds.len() - 4];
    let expected = [vec![json!("start"), json!("text-start")], deltas, vec![json!("text-end"), json!("finish")]];
    assert_eq!(kinds, expected.concat());
    assert!(kinds.len() > 9, "a piece is an event");
    assert_eq!(client.events.last().unwrap()["finishReason"], "stop");
    assert_eq!(stack.calls(&prompt).await.len(), 1);
    assert_eq!(user.used().await, 1);
}

/// A reply that a test stops when it has seen enough.
async fn unfinished(stack: &Stack, user: &User<'_>, prompt: &str) -> (String, Stream, Client) {
    let room = user.room().await;
    let hang = json!([{ "match": prompt, "text": TEXT, "pieces": 3, "hang": true }]);
    stack.script(&hang).await;
    let mut stream = open(post(user, &room, prompt, None)).await;
    let mut client = Client::default();
    client.read_some(&mut stream).await;
    (room, stream, client)
}

async fn stop(user: &User<'_>, message: &str) {
    user.call(reqwest::Method::POST, &format!("{message}/stop"), 200).await;
}

pub async fn who_polls_sees_the_draft_of_a_reply_that_is_being_written(stack: &Stack) {
    let user = stack.user().await;
    let prompt = format!("draft {}", user.id);
    let (room, stream, client) = unfinished(stack, &user, &prompt).await;
    let message = client.message(&room);
    until("the draft is stored", async || user.get(&message).await.expect(200)["draft"] == *client.text).await;
    stop(&user, &message).await;
    assert_eq!(stream.rest().await.1, Ended::Done);
}

pub async fn a_stream_in_which_nothing_comes_is_kept_open(stack: &Stack) {
    const SILENCE: Duration = Duration::from_secs(14);
    let user = stack.user().await;
    let prompt = format!("silent {}", user.id);
    let (room, mut stream, client) = unfinished(stack, &user, &prompt).await;
    let event = timeout(SILENCE, stream.next()).await;
    assert!(event.is_err(), "{event:?}");
    assert_eq!(stream.heartbeats, 2, "one at its beginning, and one since");
    let slots = format!("streams where user_id = '{}' and expires_at > now() + interval '15 seconds'", user.id);
    assert_eq!(stack.count(&slots).await, 1, "its slot is held for longer, too");
    stop(&user, &client.message(&room)).await;
    assert_eq!(stream.rest().await.1, Ended::Done);
}

pub async fn a_client_that_leaves_anywhere_in_a_reply_goes_on_where_it_left(stack: &Stack) {
    const READERS: usize = 6;
    let users = join_all((0..READERS).map(|_| stack.user())).await;
    let readers = users.iter().enumerate().map(async |(reader, user)| {
        let room = user.room().await;
        let prompt = format!("leave {}", user.id);
        stack.script(&json!([{ "match": prompt, "text": TEXT }])).await;
        let message = user.post(&room, &prompt).await;
        assert_eq!(user.reply(&message).await, TEXT);

        let whole = Client::of(&message).get(user, &room).await.unwrap();
        let length = whole.bytes().await.unwrap().len();
        let mut places = 0;
        for limit in (reader..length).step_by(READERS) {
            let mut client = Client::of(&message);
            let response = client.get(user, &room).await;
            client.hear(response, limit).await;
            client.follow(user, &room).await;
            assert_eq!((client.text.as_str(), client.last()), (TEXT, "finish"));
            places += 1;
        }
        places
    });
    let places: usize = join_all(readers).await.iter().sum();
    assert!(places > TEXT.len(), "{places}");
}

pub async fn readers_of_one_message_get_one_text_and_gemini_one_call(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let prompt = format!("followed {}", user.id);
    let slow = json!([{ "match": prompt, "text": TEXT, "pieces": 20, "pause_ms": 150 }]);
    stack.script(&slow).await;
    let devices = [&user, &another_session(stack, &user).await];
    let mut stream = open(post(&user, &room, &prompt, None)).await;
    let mut poster = Client::default();
    poster.read_some(&mut stream).await;

    // Two of them at once may read beside the poster; the others come again. Two go on from where the poster is.
    let mut readers: Vec<_> = (0..5).map(|_| Client::of(&poster.message(&room))).collect();
    for reader in &mut readers[..2] {
        reader.clone_from(&poster);
    }
    let following = readers.iter_mut().zip(devices.into_iter().cycle());
    let following = following.map(|(reader, device)| reader.follow(device, &room));
    let (ended, _) = join(poster.read(&mut stream), join_all(following)).await;
    assert_eq!((ended, poster.text.as_str()), (Ended::Done, TEXT));
    for reader in readers {
        assert_eq!((reader.text.as_str(), reader.restarts), (TEXT, 0));
    }
    assert_eq!(stack.calls(&prompt).await.len(), 1);
}

/// Fault 75: a page is loaded ten times within one reply.
pub async fn of_five_readers_at_once_all_read_and_three_stay(stack: &Stack) {
    let user = stack.user().await;
    let devices = [&user, &another_session(stack, &user).await];
    let room = user.room().await;
    let prompt = format!("five {}", user.id);
    stack.script(&json!([{ "match": prompt, "text": TEXT, "pieces": 3, "hang": true }])).await;
    let message = user.post(&room, &prompt).await;
    let requests = (0..5).zip(devices.into_iter().cycle()).map(async |(_, device)| {
        let mut client = Client::of(&message);
        let mut stream = Stream::of(client.get(device, &room).await.unwrap());
        client.read_some(&mut stream).await;
        (stream, client)
    });
    let readers = join_all(requests).await;
    let (early, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let read = join_all(readers.into_iter().map(async |(mut stream, mut client)| {
        let ended = client.read(&mut stream).await;
        if ended == Ended::Done { &done } else { &early }.fetch_add(1, Ordering::Relaxed);
        client
    }));
    let stop = async {
        until("two have given way", async || early.load(Ordering::Relaxed) == 2).await;
        stop(&user, &message).await;
    };
    let (clients, ()) = join!(read, stop);
    assert_eq!((early.into_inner(), done.into_inner()), (2, 3));
    let stored = user.reply(&message).await;
    for mut client in clients {
        client.follow(&user, &room).await;
        assert_eq!((client.text.as_str(), client.last()), (stored.as_str(), "abort"));
    }
}

/// Fault 75: a page is loaded ten times within one reply.
pub async fn a_page_that_is_loaded_ten_times_within_one_reply_reads_each_time(stack: &Stack) {
    let user = stack.user().await;
    let (room, stream, mut client) = unfinished(stack, &user, &format!("reloaded {}", user.id)).await;
    drop(stream);
    for _ in 0..10 {
        let mut again = Client::of(&client.message(&room));
        let mut stream = Stream::of(again.get(&user, &room).await.unwrap());
        again.read_some(&mut stream).await;
    }
    stop(&user, &client.message(&room)).await;
    client.follow(&user, &room).await;
    assert_eq!(client.last(), "abort");
}

pub async fn a_client_that_is_gone_at_once_finds_its_message_answered(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let prompt = format!("gone {}", user.id);
    let slow = json!([{ "match": prompt, "text": TEXT, "pieces": 4, "pause_ms": 200 }]);
    stack.script(&slow).await;
    drop(open(post(&user, &room, &prompt, None)).await);

    let sql = format!("select id::text from messages where user_id = '{}'", user.id);
    let message = format!("{room}/message/{}", stack.value::<String>(&sql).await);
    assert_eq!(user.reply(&message).await, TEXT);
    assert_eq!(stack.calls(&prompt).await.len(), 1);
    assert_eq!(user.used().await, 1);
}

pub async fn a_post_that_is_repeated_is_one_message_and_both_get_its_whole_reply(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let prompt = format!("twice {}", user.id);
    let slow = json!([{ "match": prompt, "text": TEXT, "pieces": 5, "pause_ms": 100 }]);
    stack.script(&slow).await;
    let read = async || {
        let mut client = Client::default();
        client.hear(post(&user, &room, &prompt, Some("key")).send().await, usize::MAX).await;
        client.follow(&user, &room).await;
        client.text
    };
    let (one, other) = join!(read(), read());
    assert_eq!((one.as_str(), other.as_str()), (TEXT, TEXT));
    // The response of a post was lost, and the message was answered long ago.
    assert_eq!(read().await, TEXT);
    assert_eq!(stack.calls(&prompt).await.len(), 1);
    assert_eq!(user.used().await, 1);
}

pub async fn a_reply_that_breaks_off_is_begun_anew_and_never_mixed_with_the_next(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let prompt = format!("breaks {}", user.id);
    let breaks = json!([
        { "match": prompt, "text": "This is not the end of it.", "pieces": 2, "cut": true },
        { "match": prompt, "text": TEXT, "pieces": 3 },
    ]);
    stack.script(&breaks).await;
    let mut client = Client::default();
    let mut stream = open(post(&user, &room, &prompt, None)).await;
    assert_eq!(client.read(&mut stream).await, Ended::Early);
    assert_eq!(client.text, "This is not t");

    client.follow(&user, &room).await;
    assert_eq!((client.text.as_str(), client.restarts), (TEXT, 1));
    assert_eq!(stack.calls(&prompt).await.len(), 2);
    assert_eq!(user.used().await, 1);
}

pub async fn a_stream_that_has_nothing_yet_waits_for_the_next_try(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let prompt = format!("later {}", user.id);
    let later = json!([{ "match": prompt, "status": 503, "retry_delay": "1s" }]);
    stack.script(&later).await;
    let mut client = Client::default();
    let mut stream = open(post(&user, &room, &prompt, None)).await;
    assert_eq!(client.read(&mut stream).await, Ended::Done);
    assert_eq!(client.text, format!("echo: {prompt}"));
    assert_eq!(stack.calls(&prompt).await.len(), 2);
}

pub async fn a_stream_answers_the_messages_before_its_own_in_order(stack: &Stack) {
    let stack = stack.another(&[]).await;
    let user = stack.user().await;
    let room = user.room().await;
    let _no_workers = without_workers(&stack).await;
    let schedules = stack.system.schedules().pause().await;
    let mut before = Vec::new();
    for prompt in ["in order 1", "in order 2"] {
        before.push(user.post(&room, prompt).await);
    }
    let mut client = Client::default();
    let mut stream = open(post(&user, &room, "in order 3", None)).await;
    let start = stream.next().await.unwrap();
    assert_eq!(start.data["messageMetadata"]["status"], "queued", "it can be stopped while it waits");
    client.take(start);
    assert_eq!(client.read(&mut stream).await, Ended::Done);
    assert_eq!(client.text, "echo: in order 3");
    for (message, number) in before.iter().zip(1..) {
        assert_eq!(user.reply(message).await, format!("echo: in order {number}"));
    }
    let calls = stack.calls("in order").await;
    let lengths: Vec<_> = calls.iter().map(Vec::len).collect();
    assert_eq!(lengths, [1, 3, 5], "each with all earlier turns");
    drop(schedules);
}

pub async fn nobody_is_woken_while_a_stream_has_its_room_and_a_worker_when_it_hands_over(stack: &Stack) {
    let stack = stack.another(&[]).await;
    let user = stack.user().await;
    let room = user.room().await;
    let deliveries = without_workers(&stack).await;
    let _schedules = stack.system.schedules().pause().await;
    let wake_ups = async || stack.system.queue_length().await.unwrap();

    let mut client = Client::default();
    let mut stream = open(post(&user, &room, "whole", None)).await;
    assert_eq!(client.read(&mut stream).await, Ended::Done);
    assert_eq!(wake_ups().await, 0);

    // The client of a reply that breaks off does not come again.
    stack.script(&json!([{ "match": "breaks off", "text": TEXT, "cut": true }])).await;
    let mut client = Client::default();
    let mut stream = open(post(&user, &room, "breaks off", None)).await;
    assert_eq!(client.read(&mut stream).await, Ended::Early);
    assert_eq!(wake_ups().await, 1);
    drop(deliveries);
    assert_eq!(user.reply(&client.message(&room)).await, "echo: breaks off");
}

pub async fn a_message_that_fails_says_why_and_ends(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let prompt = format!("refused {}", user.id);
    stack.script(&json!([{ "match": prompt, "block": "SAFETY" }])).await;
    let mut client = Client::default();
    let mut stream = open(post(&user, &room, &prompt, None)).await;
    assert_eq!(client.read(&mut stream).await, Ended::Done);
    let failure = user.get(&client.message(&room)).await.expect(200)["failure"].clone();
    assert_eq!(failure["reason"], "SAFETY");
    let expected = [
        json!({ "type": "text-end", "id": "reply" }),
        json!({ "type": "data-failure", "data": failure }),
        json!({ "type": "error", "errorText": failure["message"] }),
    ];
    assert_eq!(client.events[2..], expected);
}

pub async fn a_fourth_stream_at_once_is_refused_and_stores_nothing(stack: &Stack) {
    let user = stack.user().await;
    let prompt = format!("many {}", user.id);
    let mut open_ones = Vec::new();
    for number in 0..3 {
        open_ones.push(unfinished(stack, &user, &format!("{prompt} {number}")).await);
    }
    let room = user.room().await;
    let refused = user.send(post(&user, &room, &prompt, None)).await;
    assert_eq!(refused.problem(), (429, "over-limit"), "{}", refused.body);
    let (other, _, client) = &open_ones[0];
    let refused = user.send(user.request(reqwest::Method::GET, &format!("{other}/stream"))).await;
    assert_eq!(refused.status, 429, "all of them answer messages");
    assert_eq!(user.used().await, 3);

    stop(&user, &client.message(other)).await;
    until("a slot is free", async || post(&user, &room, &prompt, Some("key")).send().await.unwrap().status() == 200)
        .await;
    for (room, stream, client) in open_ones {
        stop(&user, &client.message(&room)).await;
        assert_eq!(stream.rest().await.1, Ended::Done);
    }
    let slots = format!("streams where user_id = '{}'", user.id);
    until("every slot is given back", async || stack.count(&slots).await == 0).await;
}

pub async fn a_stream_is_refused_before_it_begins_as_any_request_is(stack: &Stack) {
    let user = stack.user().await;
    let stranger = stack.user().await;
    let room = user.room().await;
    let get = |user: &User<'_>| user.request(reqwest::Method::GET, &format!("{room}/stream"));
    let nothing = user.send(get(&user)).await;
    assert_eq!((nothing.status, nothing.bytes.as_slice()), (200, NOTHING.as_bytes()), "nothing goes on");
    assert_eq!(stranger.send(get(&stranger)).await.problem(), (404, "not-found"));
    assert_eq!(stranger.send(post(&stranger, &room, "hi", None)).await.status, 404);
    assert_eq!(user.send(post(&user, &room, "", None)).await.problem(), (422, "invalid"));
    let wrong = get(&user).header("last-event-id", "7");
    assert_eq!(user.send(wrong).await.problem(), (400, "malformed"));

    // Nothing of it keeps a slot.
    let taken = format!("streams where user_id in ('{}', '{}')", user.id, stranger.id);
    assert_eq!(stack.count(&taken).await, 0);
    // The position of another room's message says nothing about this one.
    let elsewhere = user.room().await;
    let message = user.post(&elsewhere, "elsewhere").await;
    user.reply(&message).await;
    let foreign = get(&user).header("last-event-id", format!("{}.1.0", id(&message)));
    assert_eq!(user.send(foreign).await.bytes, NOTHING.as_bytes());
}
