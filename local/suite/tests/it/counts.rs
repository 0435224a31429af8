//! Holds what a warm request of each function asks of others to its budget, which stands in
//! `local/stack/src/lambda/functions.rs`.

use local_stack::{lambda::functions::Catalogue, machine::workspace::Workspace};
use local_suite::{harness::Stack, single::Driver};

/// Requests after which everything is warm, and those that are counted.
const WARMING_UP: usize = 2;
const COUNTED: usize = 4;

/// The functions that cannot be asked on their own.
const NOT_ASKED: [&str; 3] = ["message-drain", "migrate", "secret-get"];

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_request_asks_no_more_of_others_than_its_functions_budget() {
    // On a server of its own, whose statistics nobody else changes.
    let services = Stack::services().with_own_postgres().await.unwrap();
    let workspace = Workspace::find().unwrap();
    let catalogue = Catalogue::read(&workspace.root).unwrap();
    let driver = Driver::start(workspace, catalogue.clone(), &services).await.unwrap();
    let (mut beyond, mut not_asked) = (Vec::new(), Vec::new());
    for (name, function) in catalogue.iter() {
        let Some(events) = driver.events(name, WARMING_UP + COUNTED).await.unwrap() else {
            not_asked.push(name);
            continue;
        };
        let calls = driver.calls(name, &events, WARMING_UP).await.unwrap();
        driver.cases.stock.clear_queued().await.unwrap();
        let counted = i64::try_from(COUNTED).unwrap();
        for (what, found, limit) in [
            ("statements", calls.statements, function.facts.statements.into()),
            ("queue calls", i64::try_from(calls.queue).unwrap(), 1),
            ("state calls", i64::try_from(calls.state).unwrap(), function.facts.state_calls.into()),
        ] {
            if found > limit * counted {
                beyond.push(format!("{name}: {found} {what} of {counted} requests, more than {limit} of each"));
            }
        }
        if !calls.scanned.is_empty() {
            beyond.push(format!("{name} reads rows by sequential scans: {:?}", calls.scanned));
        }
    }
    assert!(beyond.is_empty(), "{}", beyond.join("\n"));
    assert_eq!(not_asked, NOT_ASKED);
}
