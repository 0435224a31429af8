//! Stops workers at chosen points, and checks that they stopped there.
//!
//! The points are made from outside: a row lock that a test holds keeps a worker's statement waiting.

use local_stack::lambda::triggers::Paused;
use local_suite::{
    harness::{Stack, User, eventually, until},
    proxy::Proxy,
};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tokio_postgres::Client;

/// Parts of the statements at which a worker can be kept waiting.
pub const ACCEPT: &str = "$10 posts for each message of the limit";
pub const CLAIM: &str = "asked = asked + 1";
pub const SETTLE: &str = "settled_at = now(), reply";
pub const DEFER: &str = "set status = 'queued', not_before";

/// Names a process by its number.
pub fn process(pid: u32) -> Pid {
    Pid::from_raw(pid.cast_signed()).unwrap()
}

/// Kills the processes of a function by SIGKILL, at least one, and waits until all are gone.
pub async fn kill(stack: &Stack, function: &str) {
    let pids = stack.system.pids(function);
    assert!(!pids.is_empty(), "{function} has no process to kill");
    stack.system.kill(function).unwrap();
    let gone = async || {
        let left = stack.system.pids(function); // which also reaps those that were idle
        let is_gone = |pid: &u32| !left.contains(pid) && test_kill_process(process(*pid)).is_err();
        pids.iter().all(is_gone)
    };
    until("the processes are gone", gone).await;
}

/// Stops processes as Lambda freezes an environment, or lets them go on.
pub fn signal(pids: &[u32], signal: Signal) {
    assert!(!pids.is_empty(), "there is no process to stop");
    for pid in pids {
        kill_process(process(*pid), signal).unwrap();
    }
}

/// Leaves no worker, and starts none until the guard is dropped. Wake-ups wait in the queue.
pub async fn without_workers(stack: &Stack) -> Paused {
    let paused = stack.system.deliveries().pause().await;
    stack.system.kill(stack.worker()).unwrap();
    let none = async || stack.system.pids(stack.worker()).is_empty();
    until("there is no worker", none).await;
    paused
}

/// Returns the id at the end of a path.
pub fn id(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

/// A row lock that a test holds.
pub struct Held(Client);

impl Held {
    /// Locks the row of the room or message at `path`.
    pub async fn row(stack: &Stack, path: &str) -> Self {
        let table = if path.contains("/message/") { "messages" } else { "chatrooms" };
        Self::locking(stack, &format!("select from {table} where id = '{}' for no key update", id(path))).await
    }

    /// Holds the rows that a statement locks.
    pub async fn locking(stack: &Stack, sql: &str) -> Self {
        let client = stack.database().await;
        client.batch_execute(&format!("begin; {sql}")).await.unwrap();
        Self(client)
    }

    pub async fn release(self) {
        self.0.batch_execute("rollback").await.unwrap();
    }
}

fn waiting(statement: &str) -> String {
    let statement = statement.replace('\'', "''");
    format!(
        "pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
         and position('{statement}' in query) > 0"
    )
}

/// Waits until a statement of a worker waits for a lock.
pub async fn until_waiting(stack: &Stack, statement: &str) {
    let sql = waiting(statement);
    until(statement, async || stack.count(&sql).await > 0).await;
}

/// Ends the statement that waits for a lock, as if it had never reached Postgres.
pub async fn undo_waiting(stack: &Stack, statement: &str) {
    let ended = format!("(select pg_terminate_backend(pid) from {}) ended", waiting(statement));
    assert_eq!(stack.count(&ended).await, 1);
    let sql = waiting(statement);
    until("the statement ended", async || stack.count(&sql).await == 0).await;
}

/// Sweeps until a message is settled.
pub async fn swept(stack: &Stack, user: &User<'_>, message: &str) -> Value {
    eventually("the message is settled", async || {
        // It may fail while something is just coming back.
        let _ = stack.system.run_schedule("message-sweep").await;
        let found = user.get(message).await.body;
        let is_settled = found["status"] == "answered" || found["status"] == "failed";
        is_settled.then_some(found)
    })
    .await
}

/// Hashes the row of a message.
pub async fn content(stack: &Stack, message: &str) -> String {
    let sql = "select md5(messages::text) from messages where id";
    stack.value(&format!("{sql} = '{}'", id(message))).await
}

/// Waits until nothing is left in the queue.
pub async fn until_queue_is_empty(stack: &Stack) {
    let empty = async || stack.system.queue_length().await.unwrap() == 0;
    until("the queue is empty", empty).await;
}

/// Waits until a line of a function's log contains both.
pub async fn until_logged(stack: &Stack, function: &str, parts: [&str; 2]) {
    let log = stack.system.logs().join(function).with_extension("log");
    let logged = async || {
        let text = tokio::fs::read_to_string(&log).await.unwrap_or_default();
        text.lines().any(|line| parts.iter().all(|part| line.contains(part)))
    };
    until(&format!("{parts:?} in {}", log.display()), logged).await;
}

/// Starts a system like this one whose functions reach queue and state store through proxies.
pub async fn behind_proxies(stack: &Stack) -> (Stack, [Proxy; 2]) {
    let services = Stack::services();
    let aws = Proxy::before(&services.aws.endpoint).unwrap();
    let redis = Proxy::before(&services.redis_database().unwrap().unwrap()).unwrap();
    let settings = [("AWS_ENDPOINT_URL", aws.url.as_str()), ("REDIS_URL", &redis.url)];
    let other = stack.another(&settings).await;
    (other, [aws, redis])
}
