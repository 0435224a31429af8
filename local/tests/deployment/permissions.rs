//! What the functions may do is what they do.
//!
//! MiniStack refuses what no policy allows, and records what was allowed. So a permission that is missing shows in the
//! functions' logs, and one that is not needed is never seen in use.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use local::harness::contract::members;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::stack::{PATIENCE, Stack, User, run};

type Actions = BTreeSet<String>;

#[test]
fn every_function_uses_the_permissions_it_has_and_misses_none() {
    run(async |stack| {
        use_everything(stack).await;
        let allowed = allowed(&stack.deployment.template);
        assert!(allowed.len() > 10, "the policies were found: {allowed:?}");
        let limit = Instant::now() + PATIENCE;
        loop {
            let differences = differences(&allowed, &used(stack).await);
            if differences.is_empty() {
                break;
            }
            assert!(Instant::now() < limit, "{differences:#?}");
            sleep(Duration::from_secs(1)).await;
        }
        let complaints = complaints(stack).await;
        assert!(complaints.is_empty(), "{complaints:#?}");
    });
}

/// Takes every way through the functions that leads to another service of AWS.
async fn use_everything(stack: &'static Stack) {
    let mut user = User::sign_up(stack).await;
    let mobile = user.mobile.clone();
    let post = Method::POST;

    // Codes, passwords and sessions.
    let number = json!({ "mobile": mobile });
    user.call(post.clone(), "/auth/forgot-password", number, 202)
        .await;
    let reset =
        json!({ "mobile": mobile, "otp": user.code().await, "new_password": "a long way home" });
    user.call(post.clone(), "/auth/reset-password", reset, 204)
        .await;
    let login = json!({ "mobile": mobile, "password": "a long way home" });
    user.session = user.call(post.clone(), "/auth/login", login, 200).await;
    let change =
        json!({ "current_password": "a long way home", "new_password": "another way home" });
    user.call(post.clone(), "/auth/change-password", change, 204)
        .await;
    let refresh = json!({ "refresh_token": user.session["refresh_token"] });
    user.session = user.call(post.clone(), "/auth/refresh", refresh, 200).await;
    user.call(post.clone(), "/auth/logout", json!({}), 204)
        .await;
    let other = known_number(stack).await;
    let number = json!({ "mobile": other });
    user.call(post.clone(), "/auth/send-otp", number, 202).await;

    // Chatrooms, with their list in the cache.
    let user = User::sign_up(stack).await;
    let room = user.open_room().await;
    for _ in 0..2 {
        user.call(Method::GET, "/chatroom", Value::Null, 200).await;
    }
    let path = format!("/chatroom/{room}");
    let renamed = json!({ "title": "Porto" });
    user.call(Method::PATCH, &path, renamed, 200).await;
    let list = user.call(Method::GET, "/chatroom", Value::Null, 200).await;
    assert_eq!(list["items"][0]["title"], "Porto");

    // A deferred answer makes the consumer send a wake-up.
    let gemini = &stack.deployment.gemini.url;
    let busy = json!([{ "status": 503, "match": "Is it busy?" }]);
    let script = stack
        .deployment
        .client
        .post(format!("{gemini}/_script"))
        .json(&busy);
    assert!(script.send().await.unwrap().status().is_success());
    let message = user.post(&room, "Is it busy?").await;
    let message = user.settled(&room, &message["id"]).await;
    assert_eq!(message["status"], "answered");

    // So does a forgotten message the sweep.
    let message = user.post_without_wake_up(&room, "Anybody there?").await;
    user.settled(&room, &message).await;

    // Money and the end.
    user.call(post.clone(), "/subscribe/pro", json!({}), 200)
        .await;
    user.call(post, "/subscription/portal", json!({}), 200)
        .await;
    user.call(Method::GET, "/subscription/status", Value::Null, 200)
        .await;
    user.call(Method::DELETE, &path, Value::Null, 204).await;
    user.call(Method::DELETE, "/user/me", Value::Null, 204)
        .await;
}

/// The number of somebody who was sent no code lately.
async fn known_number(stack: &Stack) -> &'static str {
    const NUMBER: &str = "+15559999999";
    let database = stack.deployment.database().await.unwrap();
    let insert = "insert into users (id, mobile, verified_at) values (uuidv7(), $1, now())";
    database.execute(insert, &[&NUMBER]).await.unwrap();
    NUMBER
}

/// What the template's policies allow the functions that run with these parameters, without those that may nothing.
fn allowed(template: &Value) -> BTreeMap<String, Actions> {
    let roles = members(&template["Resources"]);
    let roles = roles.filter_map(|(name, role)| {
        let function = name.strip_suffix("FunctionRole")?;
        let mut actions = Actions::new();
        let policies = role["Properties"]["Policies"].as_array()?;
        for policy in policies {
            let policy = policy["Fn::If"].get(1).unwrap_or(policy);
            for statement in policy["PolicyDocument"]["Statement"].as_array()? {
                let names = statement["Action"].as_array()?.iter();
                actions.extend(names.filter_map(|action| action.as_str().map(str::to_owned)));
            }
        }
        Some((function.to_owned(), actions))
    });
    roles.collect()
}

/// What was done, by the key of each role's session.
async fn used(stack: &Stack) -> BTreeMap<String, Actions> {
    const LOOK_UP: &str = "CloudTrail_20131101.LookupEvents";
    let mut used = BTreeMap::<String, Actions>::new();
    let mut body = json!({});
    loop {
        let page = stack.deployment.aws.act("cloudtrail", LOOK_UP, &body);
        let page = page.await.unwrap();
        // Newest first, and MiniStack has no next page: look for what is as old as the oldest, or older.
        let events = page["Events"].as_array().unwrap();
        for event in events {
            let text = |name: &str| event[name].as_str().unwrap();
            let key = text("AccessKeyId");
            if key.starts_with("ASIA") {
                let service = text("EventSource").split('.').next().unwrap();
                // The name of an action of a service that takes forms is in its form.
                let action = text("EventName").replace("POST.sns", "Publish");
                let actions = used.entry(key.to_owned()).or_default();
                actions.insert(format!("{service}:{action}"));
            }
        }
        let oldest = events.last().map(|event| &event["EventTime"]);
        match oldest {
            Some(oldest) if body["EndTime"] != *oldest => body["EndTime"] = oldest.clone(),
            _ => return used,
        }
    }
}

/// Functions and sessions whose actions have no counterpart on the other side. Nobody says which session is whose, but
/// there must be as many of each kind.
fn differences(
    allowed: &BTreeMap<String, Actions>,
    used: &BTreeMap<String, Actions>,
) -> Vec<String> {
    let mut sessions: Vec<_> = used.values().collect();
    let mut differences = Vec::new();
    for (function, actions) in allowed {
        match sessions.iter().position(|used| *used == actions) {
            Some(place) => drop(sessions.swap_remove(place)),
            None => differences.push(format!("{function} may {actions:?}")),
        }
    }
    differences.extend(
        sessions
            .iter()
            .map(|actions| format!("somebody used {actions:?}")),
    );
    differences
}

/// What the functions logged that is more than information, except what the tests brought about.
async fn complaints(stack: &Stack) -> Vec<String> {
    let expected = [
        "a queue message is no wake-up",
        "deferred",
        // Stripe's client about a customer who was deleted.
        "request returned error status: 400",
        "request failed after 1 attempts",
    ];
    let mut complaints = Vec::new();
    let mut body = json!({ "logGroupName": stack.deployment.outputs["LogGroup"] });
    loop {
        let page = stack
            .deployment
            .aws
            .act("logs", "Logs_20140328.FilterLogEvents", &body);
        let page = page.await.unwrap();
        for event in page["events"].as_array().unwrap() {
            let text = event["message"].as_str().unwrap();
            let complaint = [r#""level":"WARN""#, r#""level":"ERROR""#];
            if complaint.iter().any(|level| text.contains(level))
                && !expected.iter().any(|expected| text.contains(expected))
            {
                complaints.push(text.to_owned());
            }
        }
        match page.get("nextToken") {
            Some(next) => body["nextToken"] = next.clone(),
            None => return complaints,
        }
    }
}
