//! Requests that wait for a reply.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use local_suite::harness::{Stack, User, until};
use tokio::time::sleep;

use crate::stops::id;

on_every_kind!(of_fifty_requests_of_one_user_three_wait_and_the_others_are_answered_at_once);

/// Stores a message that no worker may answer yet, and gives its path.
async fn waiting_message(stack: &Stack, user: &User<'_>) -> String {
    let room = user.room().await;
    let sql = format!(
        "with place as (
             update chatrooms set last_position = last_position + 1 where id = '{}' returning *
         )
         insert into messages (user_id, id, chatroom_id, position, content, not_before)
         select user_id, uuidv7(), id, last_position, 'Hello', now() + interval '1 hour' from place",
        id(&room)
    );
    stack.execute(&sql).await;
    let message = format!("select id::text from messages where user_id = '{}'", user.id);
    let message: String = stack.value(&message).await;
    format!("{room}/message/{message}")
}

async fn settle(stack: &Stack, user: &User<'_>) {
    let sql = "update messages
               set status = 'answered', reply = 'Hi', finish_reason = 'STOP', settled_at = now()
               where user_id";
    stack.execute(&format!("{sql} = '{}'", user.id)).await;
}

/// Fault 53: 50 requests of one user that wait.
pub async fn of_fifty_requests_of_one_user_three_wait_and_the_others_are_answered_at_once(stack: &Stack) {
    let user = &stack.user().await;
    let message = waiting_message(stack, user).await;
    let wait = format!("{message}?wait=20");
    for round in ["the first three", "the next three, in the places left"] {
        let answered_early = AtomicUsize::new(0);
        let polls = (0..50).map(async |_| {
            let found = user.get(&wait).await.expect(200);
            answered_early.fetch_add(1, Ordering::Relaxed);
            found["status"].clone()
        });
        let settled = async {
            let others_are_answered = async || answered_early.load(Ordering::Relaxed) == 47;
            until("47 are answered, 3 wait", others_are_answered).await;
            sleep(Duration::from_millis(500)).await;
            assert_eq!(answered_early.load(Ordering::Relaxed), 47, "{round} wait");
            settle(stack, user).await;
        };
        let (statuses, ()) = tokio::join!(join_all(polls), settled);
        let waited = statuses.iter().filter(|status| *status == "answered");
        assert_eq!(waited.count(), 3, "{round}");

        let again = "update messages
                     set status = 'queued', reply = null, finish_reason = null, settled_at = null
                     where user_id";
        stack.execute(&format!("{again} = '{}'", user.id)).await;
    }
}
