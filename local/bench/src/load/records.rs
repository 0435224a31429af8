//! Counts and draws what people saw.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "these are small numbers"
)]

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::bench::figures::{ms, quantile};
use local_stack::machine::lock;

/// The columns of a drawing.
const COLUMNS: usize = 60;

/// The gateway is the limit when it takes more than this part of a request's time.
const GATEWAY_SHARE: f64 = 0.5;

/// The endpoint that the gateway's own time is compared with.
const COMPARED: &str = "GET /chatroom";

/// The responses and replies so far.
pub struct Records {
    start: Instant,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// For each endpoint the times of its responses, in milliseconds.
    responses: BTreeMap<&'static str, Vec<f64>>,
    /// When each response came.
    at: Vec<Duration>,
    /// What was no success, by endpoint and status.
    refused: BTreeMap<(&'static str, Option<u16>), usize>,
    /// How long a reply took beyond Gemini's own time, by person, in milliseconds.
    replies: BTreeMap<usize, Vec<f64>>,
    gateway: Vec<f64>,
    /// How many streams are open, and the most that ever were.
    open: usize,
    most_open: usize,
}

/// The figures at the end of a run.
pub struct Ending {
    /// How long it took.
    pub elapsed: Duration,
    /// How many people had to be sent away.
    pub left: usize,
    /// The part of the processors' time that was left over.
    pub idle: f64,
    pub memory: Vec<Memory>,
    /// How many messages there are, and how many have a reply, failed, or were asked more than once.
    pub messages: [i64; 4],
}

/// The largest process of a function, in MB, at half time and at the end.
pub struct Memory {
    pub function: &'static str,
    pub half: f64,
    pub end: f64,
}

/// All figures, to be printed.
pub struct Report {
    users: usize,
    seen: Seen,
    ending: Ending,
}

impl Records {
    /// Nothing yet.
    pub fn new(start: Instant) -> Self {
        Self { start, seen: Mutex::default() }
    }

    /// Notes a response, or that none came.
    pub fn response(&self, endpoint: &'static str, time: Duration, status: Option<u16>) {
        let mut seen = lock(&self.seen);
        seen.at.push(self.start.elapsed());
        if status.is_some_and(|status| status < 300) {
            seen.responses.entry(endpoint).or_default().push(ms(time));
        } else {
            *seen.refused.entry((endpoint, status)).or_default() += 1;
        }
    }

    /// Notes a reply, and how long it took beyond Gemini's own time.
    pub fn reply(&self, person: usize, delay: Duration) {
        let mut seen = lock(&self.seen);
        seen.replies.entry(person).or_default().push(ms(delay));
    }

    /// Notes that a stream has begun.
    pub fn opened(&self) {
        let mut seen = lock(&self.seen);
        seen.open += 1;
        seen.most_open = seen.most_open.max(seen.open);
    }

    /// Notes that a stream has ended.
    pub fn closed(&self) {
        lock(&self.seen).open -= 1;
    }

    /// Notes how long the gateway takes without a function.
    pub fn gateway(&self, time: Duration) {
        lock(&self.seen).gateway.push(ms(time));
    }

    /// Everything so far.
    pub fn report(&self, users: usize, ending: Ending) -> Report {
        let mut seen = std::mem::take(&mut *lock(&self.seen));
        for times in seen.responses.values_mut().chain(seen.replies.values_mut()) {
            times.sort_by(f64::total_cmp);
        }
        seen.gateway.sort_by(f64::total_cmp);
        Report { users, seen, ending }
    }
}

impl Report {
    /// Tells whether every message got one reply, and nothing failed but by a documented limit.
    pub fn holds(&self) -> bool {
        let [all, answered, ..] = self.ending.messages;
        let mut refused = self.seen.refused.keys();
        self.ending.left == 0 && all == answered && refused.all(|(_, status)| *status == Some(429))
    }

    /// Returns the delays of all replies, in order.
    fn delays(&self) -> Vec<f64> {
        let mut delays: Vec<_> = self.seen.replies.values().flatten().copied().collect();
        delays.sort_by(f64::total_cmp);
        delays
    }

    /// Returns the medians of each person's replies, in order.
    fn medians(&self) -> Vec<f64> {
        let people = self.seen.replies.values();
        let mut medians: Vec<_> = people.map(|delays| quantile(delays, 50)).collect();
        medians.sort_by(f64::total_cmp);
        medians
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let (seen, ending) = (&self.seen, &self.ending);
        let seconds = ending.elapsed.as_secs_f64();
        let rate = |count: usize| count as f64 / seconds;
        writeln!(
            f,
            "{} people for {seconds:.0} s: {:.1} requests and {:.1} replies a second\n",
            self.users,
            rate(seen.at.len()),
            rate(self.delays().len()),
        )?;
        writeln!(f, "| endpoint | requests | p50, ms | p95, ms | p99, ms |")?;
        writeln!(f, "| --- | --- | --- | --- | --- |")?;
        for (endpoint, times) in &seen.responses {
            let [p50, p95, p99] = [50, 95, 99].map(|percent| quantile(times, percent));
            let count = times.len();
            writeln!(f, "| {endpoint} | {count} | {p50:.0} | {p95:.0} | {p99:.0} |")?;
        }
        let delays = self.delays();
        let [p50, p95, p99] = [50, 95, 99].map(|percent| quantile(&delays, percent));
        let count = delays.len();
        writeln!(
            f,
            "| from post to reply or first word, beyond Gemini's time | {count} | {p50:.0} | {p95:.0} | {p99:.0} |\n"
        )?;
        draw_rates(f, &seen.at)?;
        draw_delays(f, &delays)?;

        for ((endpoint, status), count) in &seen.refused {
            let status = status.map_or_else(|| "no response".to_owned(), |status| status.to_string());
            writeln!(f, "{endpoint}: {count} × {status}")?;
        }
        let [all, answered, failed, again] = ending.messages;
        writeln!(f, "{all} messages: {answered} with a reply, {failed} failed; Gemini was asked again for {again}")?;
        if seen.most_open > 0 {
            writeln!(f, "At most {} streams were open at once", seen.most_open)?;
        }
        if ending.left > 0 {
            writeln!(f, "{} people still waited when it was over", ending.left)?;
        }
        let medians = self.medians();
        let (worst, median) = (quantile(&medians, 100), quantile(&medians, 50));
        writeln!(f, "Fairness: the worst person's median delay is {worst:.0} ms, the median person's {median:.0} ms")?;
        for memory in &ending.memory {
            let Memory { function, half, end } = memory;
            writeln!(f, "Memory of {function}: {half:.1} MB at half time, {end:.1} MB at the end")?;
        }
        write!(f, "{:.0} % of the processors were idle. ", ending.idle * 100.0)?;
        let gateway = quantile(&seen.gateway, 50);
        let whole = seen.responses.get(COMPARED);
        let whole = whole.map_or(f64::NAN, |times| quantile(times, 50));
        let limit =
            if gateway > GATEWAY_SHARE * whole { "it is the limit, not the functions" } else { "it is not the limit" };
        write!(f, "Of {whole:.0} ms of {COMPARED}, the local gateway alone takes {gateway:.0}: {limit}.")
    }
}

/// Draws how many responses came in each part of the run.
fn draw_rates(f: &mut Formatter, at: &[Duration]) -> fmt::Result {
    let end = at.last().map_or(0.0, Duration::as_secs_f64);
    let counts = counted(at.iter().map(Duration::as_secs_f64), end);
    let most = counts.iter().max().copied().unwrap_or_default();
    let rate = f64::from(most) * COLUMNS as f64 / end;
    writeln!(f, "responses a second   {} at most {rate:.0}", bars(&counts))
}

/// Draws how many replies were delayed by how much, up to the p99.
fn draw_delays(f: &mut Formatter, delays: &[f64]) -> fmt::Result {
    let most = quantile(delays, 99);
    let counts = counted(delays.iter().copied().filter(|delay| *delay <= most), most);
    writeln!(f, "replies by delay     {} 0 to {most:.0} ms\n", bars(&counts))
}

/// Counts values by their place between 0 and the largest.
fn counted(values: impl Iterator<Item = f64>, most: f64) -> [u32; COLUMNS] {
    let mut counts = [0; COLUMNS];
    for value in values {
        let part = value / most * COLUMNS as f64;
        counts[(part as usize).min(COLUMNS - 1)] += 1;
    }
    counts
}

/// Draws numbers as bars, the largest at full height.
fn bars(numbers: &[u32]) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = numbers.iter().max().copied().unwrap_or_default().max(1);
    let bar = |number: &u32| BARS[(*number as usize * 8).div_ceil(most as usize)];
    numbers.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(messages: [i64; 4], status: Option<u16>) -> Report {
        let records = Records::new(Instant::now());
        records.response(COMPARED, Duration::from_millis(10), Some(200));
        records.response(COMPARED, Duration::from_millis(10), status);
        records.reply(1, Duration::from_millis(20));
        records.gateway(Duration::from_millis(9));
        let ending = Ending { elapsed: Duration::from_secs(2), left: 0, idle: 0.5, memory: Vec::new(), messages };
        records.report(1, ending)
    }

    #[test]
    fn a_run_holds_when_every_message_has_its_reply_and_only_limits_refused() {
        assert!(report([3, 3, 0, 0], Some(200)).holds());
        assert!(report([3, 3, 0, 1], Some(429)).holds());
        assert!(!report([3, 3, 0, 0], Some(503)).holds());
        assert!(!report([3, 3, 0, 0], None).holds());
        assert!(!report([3, 2, 1, 0], Some(200)).holds());
    }

    #[test]
    fn a_gateway_that_takes_most_of_the_time_is_called_the_limit() {
        let text = report([3, 3, 0, 0], Some(200)).to_string();
        assert!(text.ends_with("takes 9: it is the limit, not the functions."), "{text}");
    }

    #[test]
    fn the_largest_number_has_the_highest_bar_and_only_nothing_has_none() {
        assert_eq!(bars(&[0, 1, 50, 100]), " ▁▄█");
    }
}
