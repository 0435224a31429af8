//! One real conversation over HTTP, from signing up to Gemini's reply.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

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
    let api = Api::of(system);
    let user = api.user().await;
    let room = user.room_named("Latency").await;
    for number in 0..WARMING_UP + MEASURED {
        let message = user.post(&room, &format!("Message {number}")).await;
        user.settled(&message).await;
    }
    let row = system.database().await?.query_one(LATENCY, &[]).await?;
    let [median, p90] = <[f64; 2]>::try_from(row.get::<_, Vec<f64>>(0))
        .map_err(|_| anyhow!("two figures were expected"))?;
    println!("From post to stored reply: median {median:.1} ms, p90 {p90:.1} ms, of {MEASURED}.");
    Ok(())
}
