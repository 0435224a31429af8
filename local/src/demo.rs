//! One real conversation over HTTP, from signing up to Gemini's reply.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::system::System;

/// How many messages are measured. Basic users may post five a day.
const MESSAGES: usize = 5;

/// Somebody who is signed in.
pub struct User<'a> {
    system: &'a System,
    token: String,
}

impl<'a> User<'a> {
    /// Signs up with a mobile number and the code from the response.
    pub async fn sign_up(system: &'a System, mobile: &str) -> Result<Self> {
        let stranger = Self {
            system,
            token: String::new(),
        };
        let signup = json!({"mobile": mobile, "name": "Ada"});
        let code = stranger
            .call(Method::POST, "/auth/signup", Some(&signup), 202)
            .await?;
        let verify = json!({"mobile": mobile, "otp": code["otp"]});
        let session = stranger
            .call(Method::POST, "/auth/verify-otp", Some(&verify), 200)
            .await?;
        let token = session["access_token"]
            .as_str()
            .context("no access token")?
            .to_owned();
        Ok(Self { system, token })
    }

    /// Opens a chatroom and gives its id.
    pub async fn open_room(&self, title: &str) -> Result<String> {
        let room = self
            .call(
                Method::POST,
                "/chatroom",
                Some(&json!({"title": title})),
                201,
            )
            .await?;
        Ok(room["id"]
            .as_str()
            .context("the chatroom has no id")?
            .to_owned())
    }

    /// Posts a message and gives its id.
    pub async fn post(&self, room: &str, content: &str) -> Result<String> {
        let path = format!("/chatroom/{room}/message");
        let message = self
            .call(Method::POST, &path, Some(&json!({"content": content})), 202)
            .await?;
        Ok(message["id"]
            .as_str()
            .context("the message has no id")?
            .to_owned())
    }

    /// Waits until a message is settled.
    pub async fn settled(&self, room: &str, message: &str) -> Result<Value> {
        let path = format!("/chatroom/{room}/message/{message}?wait=20");
        for _ in 0..3 {
            let message = self.call(Method::GET, &path, None, 200).await?;
            if ["answered", "failed"]
                .iter()
                .any(|status| message["status"] == *status)
            {
                return Ok(message);
            }
        }
        bail!(
            "message {message} is not answered after a minute; see {}",
            self.system.logs().display()
        );
    }

    /// A request of this user's.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.system.client().request(method, self.system.url(path));
        if self.token.is_empty() {
            return request;
        }
        request.bearer_auth(&self.token)
    }

    /// Sends a request and expects a status.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        expected: u16,
    ) -> Result<Value> {
        let mut request = self.request(method.clone(), path);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request
            .send()
            .await
            .with_context(|| format!("{method} {path}"))?;
        let status = answer.status();
        let text = answer.text().await?;
        if status.as_u16() != expected {
            bail!("{method} {path} answered {status} instead of {expected}: {text}");
        }
        serde_json::from_str(&text)
            .with_context(|| format!("{method} {path} did not answer JSON: {text}"))
    }
}

/// Prints a conversation with its times.
pub async fn print(system: &System) -> Result<()> {
    let start = Instant::now();
    let mobile = "+15550100001";
    let user = User::sign_up(system, mobile).await?;
    step(start, &format!("{mobile} signed up with a code"));
    let room = user.open_room("Hello").await?;
    step(start, &format!("opened chatroom {room}"));

    let mut times = Vec::new();
    for number in 1..=MESSAGES {
        let content = format!("Hello, number {number}");
        let posted = Instant::now();
        let id = user.post(&room, &content).await?;
        let accepted = posted.elapsed();
        let message = user.settled(&room, &id).await?;
        times.push(posted.elapsed());
        let reply = message["reply"]["content"].as_str();
        let reply = reply.with_context(|| format!("no reply: {message}"))?;
        step(
            start,
            &format!("“{content}” (accepted in {accepted:.0?}) → “{reply}”"),
        );
    }
    times.sort();
    let median: Duration = times[MESSAGES / 2];
    eprintln!("From post to reply: median {median:.0?} of {MESSAGES}, with what Gemini took.\n");
    Ok(())
}

fn step(start: Instant, text: &str) {
    eprintln!("{:7.3} s  {text}", start.elapsed().as_secs_f32());
}

/// How many messages are measured, after a few that start what is needed.
const MEASURED: usize = 50;
const WARMING_UP: usize = 5;

/// From accepting a message to storing its reply, in milliseconds, as Postgres saw it.
const LATENCY: &str = "
    select percentile_cont(array[0.5, 0.9]) within group (order by milliseconds)
    from (
        select (extract(epoch from settled_at - created_at) * 1000)::float8 as milliseconds
        from messages order by position desc limit 50
    ) measured";

/// Prints how long replies take. The stand-in for Gemini answers at once, so this is the stack's own time. The day's
/// limit must allow 55 messages.
pub async fn print_latency(system: &System) -> Result<()> {
    let user = User::sign_up(system, "+15550100002").await?;
    let room = user.open_room("Latency").await?;
    for number in 0..WARMING_UP + MEASURED {
        let message = user.post(&room, &format!("Message {number}")).await?;
        user.settled(&room, &message).await?;
    }
    let row = system.database().await?.query_one(LATENCY, &[]).await?;
    let [median, p90] = <[f64; 2]>::try_from(row.get::<_, Vec<f64>>(0))
        .map_err(|_| anyhow!("two figures were expected"))?;
    println!("From post to stored reply: median {median:.1} ms, p90 {p90:.1} ms, of {MEASURED}.");
    Ok(())
}
