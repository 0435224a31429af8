//! Tests that the functions may do what they do, and nothing else.
//!
//! MiniStack refuses what no policy allows, and records what was allowed. So a permission that is missing shows in the
//! functions' logs, and one that is not needed is never seen in use.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use local_suite::harness::{PATIENCE, User, contract::members, sample, text, until};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::stack::{Deployed, post_without_wake_up, run};

type Actions = BTreeSet<String>;

#[test]
fn every_function_uses_the_permissions_it_has_and_misses_none() {
    run(async |deployed| {
        use_everything(deployed).await;
        let allowed = allowed(&deployed.deployment.template);
        assert!(allowed.len() > 10, "the policies were found: {allowed:?}");
        let limit = Instant::now() + PATIENCE;
        loop {
            let differences = differences(&allowed, &used(deployed).await);
            if differences.is_empty() {
                break;
            }
            assert!(Instant::now() < limit, "{differences:#?}");
            sleep(Duration::from_secs(1)).await;
        }
        let complaints = complaints(deployed).await;
        assert!(complaints.is_empty(), "{complaints:#?}");
    });
}

/// Takes every way through the functions that leads to another service of AWS.
async fn use_everything(deployed: &'static Deployed) {
    use_codes_and_passwords(deployed).await;

    // Chatrooms, with their list in the cache.
    let user = deployed.api.user().await;
    let room = user.room().await;
    for _ in 0..2 {
        user.call(Method::GET, "/chatroom", 200).await;
    }
    let renamed = json!({ "title": "Porto" });
    assert_eq!(user.json(Method::PATCH, &room, &renamed).await.status, 200);
    let list = user.call(Method::GET, "/chatroom", 200).await;
    assert_eq!(list["items"][0]["title"], "Porto");

    // A deferred call of Gemini makes the consumer send a wake-up.
    let busy = json!([{ "status": 503, "match": "Is it busy?" }]);
    deployed.api.script(&busy).await;
    let message = user.post(&room, "Is it busy?").await;
    user.reply(&message).await;

    stream(deployed, &user, &room).await;

    // So does a forgotten message the sweep.
    let message = post_without_wake_up(&user, &room, "Anybody there?").await;
    user.reply(&message).await;

    // Last, since its wake-up comes late, and the sweep would have nothing to do.
    stop(deployed, &user, &room).await;

    // Money and the end.
    user.subscribe().await;
    user.call(Method::POST, "/subscription/portal", 200).await;
    user.status().await;
    user.call(Method::DELETE, &room, 204).await;
    user.leave(204).await;
}

/// Has `message-stream` hand its room over, since Gemini defers. It is invoked without its URL, which does not stream
/// here.
async fn stream(deployed: &Deployed, user: &User<'_>, room: &str) {
    const INVOKE: &str = "/2015-03-31/functions/chat-local-message-stream/invocations";
    let busy = json!([{ "status": 503, "match": "Is the stream busy?" }]);
    deployed.api.script(&busy).await;
    let mut event = sample("message-stream");
    event["rawPath"] = format!("{room}/stream").into();
    event["headers"]["authorization"] = format!("Bearer {}", user.token).into();
    event["body"] = json!({ "content": "Is the stream busy?" }).to_string().into();
    let aws = &deployed.deployment.account.aws;
    // The response is a stream of events, and no JSON.
    let _ = aws.rest("lambda", Method::POST, INVOKE, &event).await;
    let newest = format!("{room}?order=desc&limit=1");
    let newest = user.call(Method::GET, &newest, 200).await;
    let newest = &newest["messages"][0];
    assert_eq!(newest["content"], "Is the stream busy?");
    user.reply(&format!("{room}/message/{}", text(&newest["id"]))).await;
}

/// Has `message-stop` wake the room for the end of its worker's lease.
async fn stop(deployed: &Deployed, user: &User<'_>, room: &str) {
    let endless = json!([{ "hang": true, "match": "Stop me" }]);
    deployed.api.script(&endless).await;
    let message = user.post(room, "Stop me").await;
    until("somebody works on it", async || user.get(&message).await.expect(200)["status"] == "answering").await;
    user.call(Method::POST, &format!("{message}/stop"), 200).await;
    let settled = user.settled(&message).await;
    assert_eq!(settled["reply"]["finish_reason"], "STOPPED", "{settled}");
}

async fn use_codes_and_passwords(deployed: &'static Deployed) {
    const PASSWORD: &str = "a long way home";
    let api = &deployed.api;
    let mobile = api.user().await.mobile;
    let number = json!({ "mobile": mobile });
    let sent = api.code_of("/auth/forgot-password", &number).await;
    assert_eq!(api.reset(&mobile, &sent, PASSWORD).await.status, 204);
    let session = api.log_in(&mobile, PASSWORD).await.expect(200);
    let user = User::of_session(api, &mobile, &session);
    let change = json!({ "current_password": PASSWORD, "new_password": "another way home" });
    let changed = user.json(Method::POST, "/auth/change-password", &change);
    assert_eq!(changed.await.status, 204);
    assert_eq!(api.refresh("nonsense").await.status, 401, "and counted");
    let session = api.refresh(&user.refresh_token).await.expect(200);
    let token = text(&session["access_token"]);
    let logout = api.request(Method::POST, "/auth/logout").bearer_auth(token);
    assert_eq!(api.send(logout).await.status, 204);
    // A code confirms a first password, another address and the end.
    api.user().await.set_password().await;
    for (method, member) in [(Method::PATCH, Some("email")), (Method::DELETE, None)] {
        let user = api.user().await;
        let mut proof = user.confirmation().await;
        proof.as_object_mut().unwrap().extend(member.map(|member| (member.into(), "ada@example.com".into())));
        assert!(user.json(method, "/user/me", &proof).await.status < 300);
    }
    // Somebody who was sent no code lately.
    let known = "insert into users (id, mobile) values (uuidv7(), '+15559999999')";
    api.execute(known).await;
    let number = json!({ "mobile": "+15559999999" });
    assert_eq!(api.post("/auth/send-otp", &number).await.status, 202);
}

/// Lists the actions that the template's policies allow the functions that run with these parameters, without those
/// that have none.
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
                let names = names.filter_map(|action| action.as_str());
                // MiniStack's own.
                let names = names.filter(|action| *action != "sqs:SendMessageBatch");
                actions.extend(names.map(str::to_owned));
            }
        }
        Some((function.to_owned(), actions))
    });
    roles.collect()
}

/// Lists the recorded actions, by the key of each role's session.
async fn used(deployed: &Deployed) -> BTreeMap<String, Actions> {
    const LOOK_UP: &str = "CloudTrail_20131101.LookupEvents";
    let mut used = BTreeMap::<String, Actions>::new();
    let mut body = json!({});
    loop {
        let page = deployed.deployment.account.aws.act("cloudtrail", LOOK_UP, &body);
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
                let action = action.replace("SendMessageBatch", "SendMessage");
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
fn differences(allowed: &BTreeMap<String, Actions>, used: &BTreeMap<String, Actions>) -> Vec<String> {
    let mut sessions: Vec<_> = used.values().collect();
    let mut differences = Vec::new();
    for (function, actions) in allowed {
        match sessions.iter().position(|used| *used == actions) {
            Some(place) => drop(sessions.swap_remove(place)),
            None => differences.push(format!("{function} may {actions:?}")),
        }
    }
    differences.extend(sessions.iter().map(|actions| format!("somebody used {actions:?}")));
    differences
}

/// Lists the functions' warnings and errors, except those that the tests brought about.
async fn complaints(deployed: &Deployed) -> Vec<String> {
    let expected = [
        "a queue message is no wake-up",
        "deferred",
        // Stripe's client about a customer who was deleted.
        "request returned error status: 400",
        "request failed after 1 attempts",
        // Stripe tells the end of a subscription whose account is deleted.
        "an event is about a customer of nobody here",
    ];
    let mut complaints = Vec::new();
    let mut body = json!({ "logGroupName": deployed.deployment.outputs["LogGroup"] });
    loop {
        let page = deployed.deployment.account.aws.act("logs", "Logs_20140328.FilterLogEvents", &body);
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
