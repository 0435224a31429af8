//! The figures of a run, as they are printed, written and drawn.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
    time::Duration,
};

/// The median of some values, and the quartiles, between which half of them lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub quartiles: [f64; 2],
}

/// The figures of one function.
#[derive(Debug)]
pub struct Figures {
    pub function: String,
    /// From exec to the first `/next`, in milliseconds.
    pub init_ms: Spread,
    pub zipped_mb: f64,
    /// None for a function that cannot be called on its own.
    pub requests: Option<Requests>,
    /// With each memory size, where that can be measured.
    pub sizes: Vec<AtSize>,
}

/// The figures of a function's requests.
#[derive(Debug)]
pub struct Requests {
    /// The first request after init, in milliseconds, and the medians of what it waited for.
    pub first_ms: Spread,
    pub first_parts_ms: BTreeMap<&'static str, f64>,
    pub warm: Warm,
}

/// A function with one memory size.
#[derive(Debug)]
pub struct AtSize {
    pub memory_mb: u32,
    pub warm: Warm,
    /// The mean that a warm request is billed for, which AWS rounds up to whole milliseconds.
    pub billed_ms: f64,
}

/// The figures of warm requests: times, the median of their processor time, and the process's peak memory.
#[derive(Debug, Clone, Copy)]
pub struct Warm {
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub cpu_ms: f64,
    pub peak_mb: f64,
}

/// The figures of replies.
#[derive(Debug)]
pub struct Replies {
    /// From the wake-up to the settled message less Gemini's time, in milliseconds.
    pub path_ms: Spread,
    /// From one environment that gets batches of ten rooms while Gemini takes a second.
    pub per_second: f64,
}

/// The figures of replies that are passed on while they are written.
#[derive(Debug)]
pub struct Streams {
    /// From the request to the first piece of text less Gemini's time for it, in milliseconds.
    pub first_piece_ms: Spread,
    /// How long a longer reply was written, the statements that took beyond a short one, and the processor time in all.
    pub seconds: f64,
    pub statements_per_second: f64,
    pub cpu_ms: f64,
}

/// All figures of a run.
#[derive(Debug)]
pub struct Run {
    pub date: String,
    pub processor: String,
    pub cores: usize,
    pub hello: Figures,
    pub functions: Vec<Figures>,
    pub replies: Option<Replies>,
    pub streams: Option<Streams>,
}

impl Spread {
    /// Sorts at least one value.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { median: quantile(&values, 50), quartiles: [quantile(&values, 25), quantile(&values, 75)] }
    }
}

/// Writes the median, with the quartiles in brackets.
impl Display for Spread {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let [low, high] = self.quartiles;
        write!(f, "{:.2} ({low:.2}–{high:.2})", self.median)
    }
}

/// Returns the value below which `percent` of the sorted ones lie.
pub fn quantile(sorted: &[f64], percent: usize) -> f64 {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// Converts to milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_values_lie_between_the_quartiles() {
        let spread = Spread::of((0..=100).rev().map(f64::from).collect());
        let expected = Spread { median: 50.0, quartiles: [25.0, 75.0] };
        assert_eq!(spread, expected);
    }
}
