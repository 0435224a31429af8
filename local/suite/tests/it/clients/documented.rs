//! The code that `docs/clients.md` shows, taken from the document and run as a user runs it.

use std::{fs, path::Path};

use local_suite::harness::{Stack, contract::operations};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Workshop, succeed, typescript};

on!(sqs:
    a_page_with_ai_6,
    a_page_with_ai_7,
    fetch_event_source_reads_a_stream_that_breaks,
    a_postman_collection_has_every_operation_and_a_conversation,
);

const REPLY: &str = "Tram 15 — from Praça da Figueira 🚋 — stops at Belém.";

pub async fn a_page_with_ai_6(stack: &Stack) {
    page(stack, "out/six/chat-flow.js", "6").await;
}

pub async fn a_page_with_ai_7(stack: &Stack) {
    page(stack, "out/chat-flow.js", "7").await;
}

async fn page(stack: &Stack, script: &str, version: &str) {
    let slow = |prompt, pause_ms| {
        let prompt = format!("{prompt} in a page with {version}");
        json!({ "match": prompt, "pieces": 12, "pause_ms": pause_ms, "text": REPLY })
    };
    let outcomes = json!([
        slow("live", 100),
        slow("broken", 100),
        slow("resumed", 300),
        { "match": format!("stopped in a page with {version}"), "text": REPLY, "hang": true },
        { "match": format!("failed in a page with {version}"), "text": REPLY, "finish": "SAFETY" },
    ]);
    stack.script(&outcomes).await;
    let workshop = Workshop::open().await;
    let folder = typescript::folder(&workshop).await;
    let mut flow = workshop.node(&folder.join(script));
    flow.env("API_URL", &stack.url).env("MOBILE", stack.mobile()).env("VERSION", version);
    let printed = succeed(&mut flow).await;
    let all = "loaded, live, again, refreshed, refused, lost, broken, stopped, failed, resumed, idle and over";
    assert!(printed.contains(all), "{printed}");
}

pub async fn fetch_event_source_reads_a_stream_that_breaks(stack: &Stack) {
    let user = stack.user().await;
    let room = user.room().await;
    let outcome = json!({ "match": "in a hidden page", "pieces": 12, "pause_ms": 100, "text": REPLY });
    stack.script(&json!([outcome])).await;
    let workshop = Workshop::open().await;
    let folder = typescript::folder(&workshop).await;
    let mut flow = workshop.node(&folder.join("events-flow.ts"));
    flow.env("API_URL", &stack.url).env("TOKEN", &user.token).env("ROOM", room.trim_start_matches("/chatroom/"));
    let printed = succeed(&mut flow).await;
    assert!(printed.contains(&format!("the reply is: {REPLY}")), "{printed}");
    assert_eq!(user.get(&room).await.body["messages"].as_array().unwrap().len(), 1);
}

pub async fn a_postman_collection_has_every_operation_and_a_conversation(stack: &Stack) {
    let workshop = Workshop::open().await;
    let folder = typescript::folder(&workshop).await;
    let script = folder.join("postman.ts");
    let target = TempDir::new().unwrap();
    let collection = target.path().join("chat.postman_collection.json");
    succeed(workshop.node(&script).arg(workshop.contract()).arg(&collection)).await;

    let written: Value = serde_json::from_slice(&fs::read(&collection).unwrap()).unwrap();
    let folders = written["item"].as_array().unwrap();
    let others = folders.iter().filter(|folder| folder["name"] != "A conversation");
    let requests: usize = others.map(|folder| folder["item"].as_array().unwrap().len()).sum();
    assert_eq!(requests, operations().count());
    assert!(!written["item"].to_string().contains("<string>"), "a value is no example");

    let variables = [("baseUrl", &stack.url), ("streamUrl", &stack.url), ("mobile", &stack.mobile())]
        .map(|(name, value)| format!("{name}={value}"));
    let newman = folder.join("node_modules/newman/bin/newman.js");
    let mut newman = workshop.node(Path::new(&newman));
    newman.arg("run").arg(&collection).args(["--folder", "A conversation", "--color", "off"]);
    for variable in &variables {
        newman.args(["--env-var", variable]);
    }
    let printed = succeed(&mut newman).await;
    assert!(printed.contains("it is not refused"), "{printed}");
}
