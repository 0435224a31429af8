//! Holds one real conversation over HTTP, from signing up to Gemini's reply.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::{harness::Api, system::System};

/// How many messages are measured. Basic users may post five a day.
const MESSAGES: usize = 5;

/// Prints a conversation with its times.
pub async fn print(system: &System) -> Result<()> {
    let start = Instant::now();
    let api = Api::of(system);
    let user = api.user().await;
    let mobile = &user.mobile;
    step(start, &format!("{mobile} signed up with a code"));
    let room = user.room_named("Hello").await;
    step(start, &format!("opened {room}"));

    let mut times = Vec::new();
    for number in 1..=MESSAGES {
        let content = format!("Hello, number {number}");
        let posted = Instant::now();
        let message = user.post(&room, &content).await;
        let accepted = posted.elapsed();
        let message = user.settled(&message).await;
        times.push(posted.elapsed());
        let reply = message["reply"]["content"].as_str();
        let reply = reply.with_context(|| format!("no reply: {message}"))?;
        step(start, &format!("“{content}” (accepted in {accepted:.0?}) → “{reply}”"));
    }
    times.sort();
    let median: Duration = times[MESSAGES / 2];
    eprintln!("From post to reply: median {median:.0?} of {MESSAGES}, with what Gemini took.\n");
    Ok(())
}

fn step(start: Instant, text: &str) {
    eprintln!("{:7.3} s  {text}", start.elapsed().as_secs_f32());
}
