//! Measures how fast one environment of the consumer makes replies.

use std::time::Instant;

use anyhow::Result;
use reqwest::Client;
use serde_json::{Value, json};

use super::figures::{Replies, Spread, ms};
use local_stack::settings::Variables;
use local_suite::single::{Driver, covered, spans};

/// The function that makes them.
pub const CONSUMER: &str = "message-answer";

/// How many replies are timed, and how long Gemini takes for each.
pub const TIMED: usize = 50;
const DELAY_MS: u64 = 50;

/// How many batches are timed, of how many rooms each, and how long Gemini takes then.
const BATCHES: usize = 5;
const ROOMS: usize = 10;
const LONG_DELAY_MS: u64 = 1_000;

/// Measures the path of a reply, and the rate of replies.
pub async fn measure(driver: &Driver) -> Result<Replies> {
    let path_ms = path(driver).await?;
    let (mut process, _) = driver.ready(CONSUMER).await?;
    // The first batch opens the connections.
    let mut events = Vec::new();
    for _ in 0..=BATCHES {
        events.push(driver.cases.wake_up(ROOMS).await?);
    }
    let mut start = Instant::now();
    for (index, event) in events.iter().enumerate() {
        if index == 1 {
            start = Instant::now();
        }
        delay(&driver.variables, LONG_DELAY_MS, ROOMS).await?;
        process.invoke(event).await?;
    }
    #[expect(clippy::cast_precision_loss, reason = "these are small numbers")]
    let per_second = (BATCHES * ROOMS) as f64 / start.elapsed().as_secs_f64();
    Ok(Replies { path_ms, per_second })
}

/// Times a wake-up less Gemini's part, which is seen on its connection.
async fn path(driver: &Driver) -> Result<Spread> {
    let mut process = driver.watched(CONSUMER).await?;
    let mut times = Vec::new();
    for number in 0..=TIMED {
        let event = driver.cases.wake_up(1).await?;
        delay(&driver.variables, DELAY_MS, 1).await?;
        driver.forget();
        let responded = process.invoke(&event).await?;
        let gemini = covered(spans(&driver.proxy("Gemini").take()));
        if number > 0 {
            times.push(ms(responded.time.saturating_sub(gemini)));
        }
    }
    Ok(Spread::of(times))
}

/// Delays Gemini's next replies.
async fn delay(variables: &Variables, delay_ms: u64, calls: usize) -> Result<()> {
    script(variables, vec![json!({ "delay_ms": delay_ms }); calls].into()).await
}

/// Tells the Gemini stand-in what to do with the next calls.
pub async fn script(variables: &Variables, script: Value) -> Result<()> {
    let client: Client = local_stack::machine::http::client()?;
    let url = format!("{}/_script", variables["GEMINI_URL"]);
    let answer = client.post(url).json(&script).send().await?;
    answer.error_for_status()?;
    Ok(())
}
