//! Counts the calls that proxies recorded, and the time that was waited for them. Proxies stand before the services
//! only where calls are counted or told apart; warm requests are timed without them.

use std::time::{Duration, Instant};

use crate::proxy::{Chunk, What};

/// Counts how often requests contain `text`, whatever its case.
pub fn count(passed: &[Chunk], text: &str) -> usize {
    let text = text.to_lowercase();
    passed
        .iter()
        .filter_map(|chunk| match &chunk.what {
            What::Sent(bytes) => Some(String::from_utf8_lossy(bytes).to_lowercase()),
            _ => None,
        })
        .map(|request| request.matches(&text).count())
        .sum()
}

/// Returns the span of each connection: from its opening or its first request to its last response.
pub fn spans(passed: &[Chunk]) -> Vec<(Instant, Instant)> {
    let mut connections: Vec<_> = passed.iter().map(|chunk| chunk.connection).collect();
    connections.sort_unstable();
    connections.dedup();
    let span = |connection| {
        let own = || passed.iter().filter(move |chunk| chunk.connection == connection);
        let end = own().rfind(|chunk| matches!(chunk.what, What::Received))?;
        Some((own().next()?.at, end.at))
    };
    connections.into_iter().filter_map(span).collect()
}

/// Adds up the time that any of the spans covers.
pub fn covered(mut spans: Vec<(Instant, Instant)>) -> Duration {
    spans.sort_unstable();
    let mut covered = Duration::ZERO;
    let mut end = None;
    for (from, to) in spans {
        let from = end.map_or(from, |end| from.max(end));
        covered += to.saturating_duration_since(from);
        end = Some(end.map_or(to, |end| to.max(end)));
    }
    covered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_two_spans_share_counts_once() {
        let at = |ms| Instant::now().checked_add(Duration::from_millis(ms));
        let start = at(0).unwrap();
        let at = |ms| start + Duration::from_millis(ms);
        let spans = vec![(at(5), at(20)), (at(0), at(10)), (at(30), at(31))];
        assert_eq!(covered(spans), Duration::from_millis(21));
    }
}
