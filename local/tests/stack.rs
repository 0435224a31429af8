//! The local stack does what Lambda, API Gateway and SQS would, where a test or a developer relies on it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

use std::time::{Duration, Instant};

use local::{
    demo::User,
    services::{Services, postgres::connect},
    settings::Settings,
    system::System,
};
use serde_json::{Value, json};
use tokio::time::sleep;

async fn start() -> (Services, System) {
    let services = Services::from_env().unwrap();
    let system = System::start(&services, Settings::default()).await.unwrap();
    (services, system)
}

/// Waits for something that must come true soon.
async fn until(what: &str, limit: Duration, holds: impl AsyncFn() -> bool) {
    let end = Instant::now() + limit;
    while !holds().await {
        assert!(Instant::now() < end, "not in time: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_path_or_method_without_a_route_is_not_found() {
    let (_services, system) = start().await;
    for (method, path) in [("GET", "/nowhere"), ("PUT", "/chatroom"), ("GET", "/")] {
        let request = system
            .client()
            .request(method.parse().unwrap(), system.url(path));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 404, "{method} {path}");
        assert_eq!(
            answer.json::<Value>().await.unwrap(),
            json!({"message": "Not Found"})
        );
    }
}

#[tokio::test]
async fn who_waits_for_a_killed_process_hears_of_it_and_the_next_one_gets_another() {
    let (_services, system) = start().await;
    let user = User::sign_up(&system, "+15550100001").await.unwrap();
    let room = user.open_room("Killed").await.unwrap();
    let held = (
        system.deliveries().pause().await,
        system.schedules().pause().await,
    );
    system.script(&json!([{"hang": true}])).await.unwrap();
    let message = user.post(&room, "Hello").await.unwrap();

    let kill = async {
        let asked = async || system.gemini_calls().await.unwrap().len() == 1;
        until("Gemini is asked", Duration::from_secs(10), asked).await;
        assert_eq!(system.kill("message-answer").unwrap(), 1);
        Instant::now()
    };
    let (answer, killed) = tokio::join!(system.wake(&room), kill);
    assert!(
        killed.elapsed() < Duration::from_secs(2),
        "the request hung"
    );
    let error = answer.unwrap_err().to_string();
    assert!(error.contains("Runtime exited: signal: 9"), "{error}");

    drop(held);
    let database = system.database().await.unwrap();
    let free = "update chatrooms set answering_until = null where id = $1::text::uuid";
    database.execute(free, &[&room]).await.unwrap();
    system.wake(&room).await.unwrap();
    assert_eq!(
        user.settled(&room, &message).await.unwrap()["status"],
        "answered"
    );
}

#[tokio::test]
async fn nothing_is_delivered_while_deliveries_are_paused() {
    let (_services, system) = start().await;
    let user = User::sign_up(&system, "+15550100001").await.unwrap();
    let room = user.open_room("Paused").await.unwrap();
    let held = (
        system.deliveries().pause().await,
        system.schedules().pause().await,
    );
    let message = user.post(&room, "Hello").await.unwrap();
    sleep(Duration::from_millis(1_500)).await;
    assert!(system.gemini_calls().await.unwrap().is_empty());
    drop(held);
    assert_eq!(
        user.settled(&room, &message).await.unwrap()["status"],
        "answered"
    );
}

#[tokio::test]
async fn a_system_has_its_own_data_and_leaves_none() {
    let (services, system) = start().await;
    let user = User::sign_up(&system, "+15550100001").await.unwrap();
    user.open_room("Mine").await.unwrap();
    let other = System::start(&services, Settings::default()).await.unwrap();
    let database = other.database().await.unwrap();
    let rows = database.query("select from users", &[]).await.unwrap();
    assert!(rows.is_empty(), "it sees the other's users");

    let pids = system.pids("chatroom-create");
    let url = system.variables()["DATABASE_URL"].clone();
    system.stop(&services).await.unwrap();
    assert!(connect(&url).await.is_err(), "its database is left");
    until(
        "its processes are gone",
        Duration::from_secs(2),
        async || {
            pids.iter()
                .all(|pid| !std::path::Path::new(&format!("/proc/{pid}/exe")).exists())
        },
    )
    .await;
}
