//! Measures replies that are passed on while they are written: how soon the first piece comes, and what a longer one
//! asks of Postgres and the processor.

use anyhow::{Context, Result};
use serde_json::json;

use super::{
    figures::{Spread, Streams, ms},
    replies::{TIMED, script},
    usage::processor_time,
};
use local_suite::{proxy::What, single::Driver};

/// The function that passes them on.
pub const STREAM: &str = "message-stream";

/// How long Gemini takes for its first piece. It never takes less.
const DELAY_MS: u64 = 300;

/// The pieces of a longer reply, and the time between two of them.
const PIECES: u32 = 60;
const PAUSE_MS: u32 = 200;

/// Measures one environment that serves one stream after the other.
pub async fn measure(driver: &Driver) -> Result<Streams> {
    let mut process = driver.watched(STREAM).await?;
    let mut times = Vec::new();
    for number in 0..=TIMED {
        let event = driver.cases.stream().await?;
        script(&driver.variables, json!([{ "delay_ms": DELAY_MS, "pause_ms": DELAY_MS }])).await?;
        driver.forget();
        let responded = process.invoke(&event).await?;
        let piece = responded.chunks.iter().find(|(_, chunk)| String::from_utf8_lossy(chunk).contains("text-delta"));
        let (piece, _) = piece.context("a reply has no text")?;
        let passed = driver.proxy("Gemini").take();
        let asked = passed.first().context("Gemini was not asked")?;
        // The response's head comes at once, and the next piece much later.
        let spoke = passed.iter().rfind(|chunk| matches!(chunk.what, What::Received) && chunk.at < *piece);
        let gemini = spoke.context("Gemini did not respond")?.at - asked.at;
        if number > 0 {
            times.push(ms((*piece - responded.given).saturating_sub(gemini)));
        }
    }

    let (short, long) = (driver.cases.stream().await?, driver.cases.stream().await?);
    driver.watch.take_statements().await?;
    process.invoke(&short).await?;
    let statements = driver.watch.take_statements().await?;
    let used = processor_time(process.pid()?)?;
    let text = "Lisbon ".repeat(PIECES.try_into()?);
    script(&driver.variables, json!([{ "text": text, "pieces": PIECES, "pause_ms": PAUSE_MS }])).await?;
    process.invoke(&long).await?;
    let more = u32::try_from(driver.watch.take_statements().await? - statements)?;
    let seconds = f64::from(PIECES * PAUSE_MS) / 1000.0;
    Ok(Streams {
        first_piece_ms: Spread::of(times),
        seconds,
        statements_per_second: f64::from(more) / seconds,
        cpu_ms: ms(processor_time(process.pid()?)?.saturating_sub(used)),
    })
}
