//! Measures whether other users' data slows requests down: a database with a million rooms and ten million messages
//! beside one that has hardly any, by turns.

use anyhow::{Result, bail};

use super::{
    cases::{Cases, Events},
    figures::Growth,
    measure::Bench,
    replies::CONSUMER,
    stock::Stock,
    timing::Timing,
};
use local_stack::services::Services;

/// The functions that read what grows: they list, post, claim, and sweep.
pub const FUNCTIONS: [&str; 4] = ["chatroom-list", "message-send", CONSUMER, "message-sweep"];

/// The number of requests that are timed.
const REQUESTS: usize = 200;

/// Fills another database and measures the functions over both.
pub async fn measure(bench: &Bench<'_>, services: &Services, name: &str) -> Result<Vec<Growth>> {
    let url = services.create_database(&format!("{name}_millions")).await?;
    let stock = Stock::lay(&url, &bench.variables["JWT_PRIVATE_KEY"]).await?;
    stock.add_millions().await?;
    let many = Cases::new(bench.cases.catalogue, bench.cases.samples, &stock, &bench.variables);
    let mut growth = Vec::new();
    for function in FUNCTIONS {
        let sides = [
            ("hardly any rooms", &bench.cases, &[][..]),
            ("1 000 000 rooms, 10 000 000 messages", &many, &[("DATABASE_URL", url.as_str())]),
        ];
        let mut timings = Vec::new();
        for (size, cases, variables) in sides {
            let Events::Each(events) = cases.events(function, REQUESTS, None).await? else {
                bail!("{function} has no events of its own");
            };
            let timing = Timing::of(bench.ready_with(function, variables).await?.0);
            timings.push((size.to_owned(), events, timing));
        }
        for number in 0..REQUESTS {
            for (_, events, timing) in &mut timings {
                timing.invoke(&events[number]).await?;
            }
        }
        let sizes = timings.into_iter();
        let sizes = sizes.map(|(size, _, timing)| Ok((size, timing.figures()?)));
        growth.push(Growth { function: function.to_owned(), sizes: sizes.collect::<Result<_>>()? });
        bench.cases.stock.clear_queued().await?;
        stock.clear_queued().await?;
    }
    Ok(growth)
}
