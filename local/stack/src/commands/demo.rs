//! Holds one real conversation over HTTP, from signing up to Gemini's reply.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::system::System;

/// The number of messages that are timed. Basic users may post five a day.
const MESSAGES: usize = 5;

/// Prints a conversation with its times.
pub async fn print(system: &System) -> Result<()> {
    let start = Instant::now();
    let post = |path: &str, body: &Value| system.client().post(system.url(path)).json(body);
    let mobile = "+15550000000";
    let sent = ask(post("/auth/signup", &json!({ "mobile": mobile, "name": "Ada" }))).await?;
    let proof = json!({ "mobile": mobile, "challenge": sent["challenge"], "otp": sent["otp"] });
    let session = ask(post("/auth/verify-otp", &proof)).await?;
    let token = text(&session, "/access_token")?;
    step(start, &format!("{mobile} signed up with a code"));
    let room = ask(post("/chatroom", &json!({ "title": "Hello" })).bearer_auth(token)).await?;
    let room = format!("/chatroom/{}", text(&room, "/id")?);
    step(start, &format!("opened {room}"));

    let mut times = Vec::new();
    for number in 1..=MESSAGES {
        let content = format!("Hello, number {number}");
        let posted = Instant::now();
        let message = post(&format!("{room}/message"), &json!({ "content": content }));
        let message = ask(message.bearer_auth(token)).await?;
        let accepted = posted.elapsed();
        let path = format!("{room}/message/{}?wait=20", text(&message, "/id")?);
        let message = ask(system.client().get(system.url(&path)).bearer_auth(token)).await?;
        let reply = text(&message, "/reply/content")?;
        times.push(posted.elapsed());
        step(start, &format!("“{content}” (accepted in {accepted:.0?}) → “{reply}”"));
    }
    times.sort();
    let median: Duration = times[MESSAGES / 2];
    eprintln!("From post to reply: median {median:.0?} of {MESSAGES}, with what Gemini took.\n");
    Ok(())
}

/// Sends a request, which must succeed, and returns the response's body.
async fn ask(request: RequestBuilder) -> Result<Value> {
    let response = request.send().await?;
    let (status, url) = (response.status(), response.url().clone());
    let body = response.text().await?;
    if !status.is_success() {
        bail!("{url}: {status} {body}");
    }
    Ok(serde_json::from_str(&body)?)
}

fn text<'a>(body: &'a Value, member: &str) -> Result<&'a str> {
    let text = body.pointer(member).and_then(Value::as_str);
    text.with_context(|| format!("no {member} in {body}"))
}

fn step(start: Instant, text: &str) {
    eprintln!("{:7.3} s  {text}", start.elapsed().as_secs_f32());
}
