//! Rows 31 and 32: the state store behind, and away.

use futures_util::join;
use rustix::process::Signal;
use serde_json::json;

use crate::{
    proxy::{Proxy, behind_proxies},
    stack::{Stack, User},
    stops::{Held, signal, swept, until, until_waiting},
};

async fn rooms(user: &User<'_>) -> usize {
    let list = user.get("/chatroom").await.body;
    list["items"].as_array().unwrap().len()
}

/// Row 31.
pub async fn a_list_that_was_read_before_a_room_was_created_is_not_kept(stack: &Stack) {
    const LIST: &str = "order by active_at desc";

    let stack = stack.another(&[]).await;
    let user = stack.user().await;
    user.room().await;
    // The function is frozen between reading Postgres and storing the list, and meanwhile a room is created.
    let lock = Held::locking(&stack, "lock table chatrooms").await;
    let frozen = async {
        until_waiting(&stack, LIST).await;
        let pids = stack.system.pids("chatroom-list");
        signal(&pids, Signal::STOP);
        lock.release().await;
        let read = format!(
            "pg_stat_activity where datname = current_database() and state = 'idle'
             and pid <> pg_backend_pid() and position('{LIST}' in query) > 0"
        );
        until("the list was read", async || stack.count(&read).await > 0).await;
        user.room().await;
        signal(&pids, Signal::CONT);
    };
    let (old, ()) = join!(rooms(&user), frozen);
    assert_eq!(old, 1);
    assert_eq!(rooms(&user).await, 2);
}

/// Row 32.
pub async fn without_queue_and_state_store_chat_goes_on_and_codes_do_not(stack: &Stack) {
    let (stack, lines) = behind_proxies(stack).await;
    let user = stack.user().await;
    user.room().await;
    assert_eq!(rooms(&user).await, 1);
    lines.iter().for_each(Proxy::cut);
    let room = user.room().await;
    let message = user.post(&room, "hello").await;
    assert_eq!(rooms(&user).await, 2, "the cache is bypassed");
    for path in ["/auth/signup", "/auth/send-otp", "/auth/forgot-password"] {
        let answer = stack.post(path, &json!({ "mobile": stack.mobile() })).await;
        assert_eq!(answer.status, 503, "{path}");
        assert!(answer.headers.contains_key("retry-after"));
    }
    let mobile = stack.mobile();
    assert_eq!(stack.verify(&mobile, "123456").await.status, 503);
    let login = json!({ "mobile": mobile, "password": "correct horse battery" });
    assert_eq!(stack.post("/auth/login", &login).await.status, 503);
    assert!(lines.iter().map(Proxy::broken).sum::<usize>() > 0);

    lines.iter().for_each(Proxy::heal);
    assert_eq!(swept(&stack, &user, &message).await["status"], "answered");
    stack.user().await;
}
