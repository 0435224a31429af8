//! Computes what a million messages cost, from the measured functions, and writes the table of `docs/operations.md`.
//!
//! List prices of us-east-1 in 2026, without free tiers.

use std::{fmt::Write as _, fs, path::Path};

use super::{
    figures::{AtSize, Run},
    replies::CONSUMER,
    sizes::{GB_SECOND, MILLION_REQUESTS},
    streams::STREAM,
};
use anyhow::{Context, Result};
use local_stack::lambda::functions::Catalogue;

/// Seconds that Gemini takes.
const WAITS: [u32; 2] = [3, 6];

/// The functions that clients of the queue ask.
const POLL: &str = "message-get";
const SEND: &str = "message-send";

/// The functions that must be measured for it.
pub const FUNCTIONS: [&str; 4] = [SEND, POLL, CONSUMER, STREAM];

/// US$ for a million requests, and for a GB of logs.
const API_GATEWAY: f64 = 1.00;
const SQS: f64 = 0.40;
const LOGS_GB: f64 = 0.50;

/// The logs of Lambda and a function, in GB for a million requests.
const LOGGED_GB: f64 = 1.0;

/// The lines between which the table stands.
const BEGIN: &str = "<!-- Written by `cargo local bench --cost`. -->";
const END: &str = "<!-- End. -->";

/// The cost of one way of getting replies.
#[derive(Debug)]
pub struct Cost {
    /// How the client waits.
    pub way: &'static str,
    /// Seconds that Gemini takes.
    pub seconds: u32,
    /// US$ for a million messages, by what they are paid for.
    pub parts: Vec<(String, f64)>,
}

impl Cost {
    /// US$ for a million messages.
    pub fn dollars(&self) -> f64 {
        self.parts.iter().map(|(_, dollars)| dollars).sum()
    }
}

/// Returns the costs of each way whose functions were measured, with the memory that the template gives them.
pub fn costs(run: &Run, catalogue: &Catalogue) -> Vec<Cost> {
    let size = |function: &str| {
        let deployed = catalogue.get(function).ok()?.memory_mb;
        let functions = run.functions.iter();
        let mut functions = functions.filter(|figures| figures.function == function);
        let mut sizes = functions.next()?.sizes.iter();
        sizes.find(|size| u64::from(size.memory_mb) == deployed)
    };
    let mut costs = Vec::new();
    if let (Some(send), Some(poll), Some(answer)) = (size(SEND), size(POLL), size(CONSUMER)) {
        let polled = |seconds| {
            let functions = [(SEND, send, 0), (POLL, poll, seconds), (CONSUMER, answer, seconds)];
            of("polled", seconds, 2.0 * API_GATEWAY, &functions, 3.0 * SQS)
        };
        costs.extend(WAITS.map(polled));
    }
    if let Some(stream) = size(STREAM) {
        // A function URL costs nothing of its own, and nobody needs to be woken.
        let streamed = |seconds| of("streamed", seconds, 0.0, &[(STREAM, stream, seconds)], 0.0);
        costs.extend(WAITS.map(streamed));
    }
    costs
}

fn of(way: &'static str, seconds: u32, gateway: f64, functions: &[(&str, &AtSize, u32)], queue: f64) -> Cost {
    let requests = f64::from(u32::try_from(functions.len()).unwrap_or(u32::MAX));
    let mut parts =
        vec![("API Gateway".to_owned(), gateway), ("Lambda, requests".to_owned(), requests * MILLION_REQUESTS)];
    parts.extend(functions.iter().map(|(function, size, waits)| {
        let dollars = size.gb_seconds(f64::from(*waits) * 1000.0) * GB_SECOND;
        (format!("Lambda, `{function}` with {} MB", size.memory_mb), dollars)
    }));
    parts.push(("SQS".to_owned(), queue));
    parts.push(("CloudWatch Logs".to_owned(), requests * LOGGED_GB * LOGS_GB));
    Cost { way, seconds, parts }
}

/// Returns the costs side by side.
pub fn table(costs: &[Cost]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in costs.iter().flat_map(|cost| &cost.parts) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let mut table = "| US$ a million messages |".to_owned();
    for cost in costs {
        let _ = write!(table, " {}, {} s |", cost.way, cost.seconds); // writing to a string does not fail
    }
    table += "\n| --- |";
    table += &" --- |".repeat(costs.len());
    for name in names {
        let _ = write!(table, "\n| {name} |");
        for cost in costs {
            let part = cost.parts.iter().find(|(part, _)| part == name);
            let dollars = part.map(|(_, dollars)| *dollars).filter(|dollars| *dollars > 0.0);
            let dollars = dollars.map_or_else(|| "–".to_owned(), |dollars| format!("{dollars:.2}"));
            let _ = write!(table, " {dollars} |");
        }
    }
    table += "\n| **Together** |";
    for cost in costs {
        let _ = write!(table, " **{:.2}** |", cost.dollars());
    }
    table
}

/// Replaces the table in a document.
pub fn write(document: &Path, costs: &[Cost]) -> Result<()> {
    let text = fs::read_to_string(document).with_context(|| format!("cannot read {}", document.display()))?;
    let text = replaced(&text, &table(costs))
        .with_context(|| format!("{} has no lines {BEGIN} and {END}", document.display()))?;
    fs::write(document, text).with_context(|| format!("cannot write {}", document.display()))
}

fn replaced(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{table}\n\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_replaces_the_one_before_and_nothing_else() {
        let cost = |way, seconds, dollars| Cost {
            way,
            seconds,
            parts: vec![("SQS".to_owned(), dollars), (format!("Of {way}"), 1.0)],
        };
        let table = table(&[cost("polled", 3, 1.2), cost("streamed", 3, 0.0)]);
        let expected = "| US$ a million messages | polled, 3 s | streamed, 3 s |\n| --- | --- | --- |\n\
                        | SQS | 1.20 | – |\n| Of polled | 1.00 | – |\n| Of streamed | – | 1.00 |\n\
                        | **Together** | **2.20** | **1.00** |";
        assert_eq!(table, expected);
        let document = format!("before\n{BEGIN}\nold\n{END}\nafter");
        let expected = format!("before\n{BEGIN}\n\n{table}\n\n{END}\nafter");
        assert_eq!(replaced(&document, &table), Some(expected));
        assert_eq!(replaced("no place", &table), None);
    }
}
