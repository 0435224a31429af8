//! Measures whether data slows requests down: the functions that read rooms and messages, with little and with much in
//! them, by turns.

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    figures::Growth,
    measure::Bench,
    replies::CONSUMER,
    stock::{FEW_ROOMS, MANY_ROOMS, SIZES},
    timing::Timing,
};

/// How many requests are timed with each size, after the first.
const REQUESTS: usize = 200;

/// Measures the functions among `functions` that it concerns.
pub async fn measure(bench: &Bench<'_>, functions: &[String]) -> Result<Vec<Growth>> {
    let mut growth = Vec::new();
    for function in functions {
        let cases = match function.as_str() {
            "chatroom-get" | "message-get" | "message-send" | CONSUMER => rooms(bench, function).await?,
            "chatroom-list" => {
                for (place, variables) in CACHES {
                    growth.push(of(bench, function, variables, lists(bench, place)?).await?);
                }
                later_pages(bench).await?
            }
            _ => continue,
        };
        growth.push(of(bench, function, &[], cases).await?);
    }
    Ok(growth)
}

/// Where the first page of rooms may come from.
const CACHES: [(&str, &[(&str, &str)]); 3] = [
    ("from Postgres", &[("CHATROOM_CACHE", "none")]),
    ("cached in DynamoDB", &[("CHATROOM_CACHE", "state"), ("STATE", "dynamodb")]),
    ("cached in Redis", &[("CHATROOM_CACHE", "state"), ("STATE", "redis")]),
];

/// A label and an event for each size.
type Cases = Vec<(String, Value)>;

async fn of(bench: &Bench<'_>, function: &str, variables: &[(&str, &str)], cases: Cases) -> Result<Growth> {
    let mut sizes = Vec::new();
    for (size, event) in cases {
        let timing = Timing::of(bench.ready_with(function, variables).await?.0);
        sizes.push((size, event, timing));
    }
    for _ in 0..REQUESTS {
        for (_, event, timing) in &mut sizes {
            if function == CONSUMER {
                let body = event["Records"][0]["body"].as_str().unwrap_or_default();
                let wake_up: Value = serde_json::from_str(body)?;
                let room = wake_up["chatroom_id"].as_str().unwrap_or_default();
                bench.cases.stock.queue(room.parse()?).await?;
            }
            timing.invoke(event).await?;
        }
    }
    bench.cases.stock.clear_queued().await?;
    let sizes = sizes.into_iter();
    let sizes = sizes.map(|(size, _, timing)| Ok((size, timing.figures()?)));
    Ok(Growth { function: function.to_owned(), sizes: sizes.collect::<Result<_>>()? })
}

async fn rooms(bench: &Bench<'_>, function: &str) -> Result<Cases> {
    let mut cases = Vec::new();
    for size in SIZES {
        let room = bench.cases.stock.room_of(size)?.to_string();
        let event = match function {
            CONSUMER => json!({ "Records": [bench.cases.record(&room)?] }),
            _ => bench.cases.request(function, &room).await?,
        };
        cases.push((format!("{size} messages"), event));
    }
    Ok(cases)
}

fn lists(bench: &Bench<'_>, place: &str) -> Result<Cases> {
    let stock = bench.cases.stock;
    let users = [(FEW_ROOMS, stock.owner), (MANY_ROOMS, stock.collector)];
    let event = |(rooms, user)| {
        let event = bench.cases.signed_in("chatroom-list", user)?;
        Ok((format!("{rooms} rooms, {place}"), event))
    };
    users.into_iter().map(event).collect()
}

/// Pages after the first, which no cache holds.
async fn later_pages(bench: &Bench<'_>) -> Result<Cases> {
    let mut cases = Vec::new();
    let (mut process, _) = bench.ready("chatroom-list").await?;
    for (size, mut event) in lists(bench, "a later page")? {
        let page = process.invoke(&event).await?.body;
        let page: Value = serde_json::from_str(page["body"].as_str().unwrap_or_default())?;
        let cursor = page["next_cursor"].as_str().unwrap_or_default();
        event["queryStringParameters"] = json!({"limit": "20", "cursor": cursor});
        event["rawQueryString"] = format!("limit=20&cursor={cursor}").into();
        cases.push((size, event));
    }
    Ok(cases)
}
