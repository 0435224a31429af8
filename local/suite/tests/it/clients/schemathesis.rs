//! Requests that are made up from the contract, valid and not, for every operation.

use local_suite::harness::{Stack, contract::operations};
use tempfile::TempDir;

use super::{Workshop, succeed};
use crate::stops::id;

on!(sqs: every_response_is_documented);

/// Limits that made-up requests do not reach.
const WIDE: [(&str, &str); 6] = [
    ("BASIC_DAILY_MESSAGES", "1000000"),
    ("BASIC_DAILY_TOKENS", "1000000000"),
    ("CHATROOMS_PER_USER", "1000000"),
    ("NEW_CHATROOMS_PER_USER_HOUR", "1000000"),
    ("OTP_CODES_PER_ADDRESS_HOUR", "1000000"),
    ("STRIPE_PAGES_PER_USER_HOUR", "1000000"),
];

pub async fn every_response_is_documented(stack: &Stack) {
    let stack = stack.another(&WIDE).await;
    let (user, leaving, parting) = tokio::join!(stack.user(), stack.user(), stack.user());
    let room = user.room().await;
    let message = user.post(&room, "Hello").await;
    user.reply(&message).await;
    let spare_room = user.room().await;

    let workshop = Workshop::open().await;
    let sources = workshop.root.join("local/suite/python/clients");
    let folder = TempDir::new().unwrap();
    let mut schemathesis = workshop.command("schemathesis");
    schemathesis.arg("--config-file").arg(sources.join("schemathesis.toml"));
    schemathesis.arg("run").arg(workshop.contract()).current_dir(&folder);
    schemathesis
        .env("PYTHONPATH", &sources)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SCHEMATHESIS_HOOKS", "schemathesis_hooks")
        .env("API_URL", &stack.url)
        .env("TOKEN", &user.token)
        .env("LEAVING_TOKEN", &leaving.token)
        .env("PARTING_TOKEN", &parting.token)
        .env("CHATROOM", id(&room))
        .env("SPARE_CHATROOM", id(&spare_room))
        .env("MESSAGE", id(&message));
    let report = succeed(&mut schemathesis).await;
    let all = operations().count();
    assert!(report.contains(&format!("Tested: {all}\n")), "{report}");
}
