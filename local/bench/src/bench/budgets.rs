//! Holds the figures to their budgets.

use super::{
    cost::{Cost, costs},
    figures::{Figures, Requests, Run, Spread, Streams},
};
use local_stack::lambda::functions::{Catalogue, Trigger};

/// A limit, and how it is kept.
pub struct Budget {
    pub figure: &'static str,
    pub limit: String,
    /// The worst figure, and whose it is.
    pub worst: String,
    pub holds: bool,
}

const INIT_FACTOR: f64 = 2.0;
const PEAK_MB: f64 = 12.0;
/// Argon2 needs 19 MiB by design: functions that hash passwords have at least so much memory configured.
const HASHING_MB: u64 = 512;
const ZIPPED_MB: f64 = 3.5;
const REPLY_PATH_MS: f64 = 10.0;
const REPLIES_PER_SECOND: f64 = 9.0;
const FIRST_PIECE_MS: f64 = 15.0;
/// One checkpoint, and what holds the stream's slot.
const STATEMENTS_PER_SECOND: f64 = 1.2;

/// Compares a run with every budget that it has figures for.
pub fn budgets(run: &Run, catalogue: &Catalogue) -> Vec<Budget> {
    let function = |figures: &Figures| catalogue.get(&figures.function).ok();
    let mut budgets = vec![
        most(
            "init, of API functions",
            &format!("{INIT_FACTOR} × hello"),
            run.functions
                .iter()
                .filter(|figures| function(figures).is_some_and(|it| it.trigger == Trigger::Request))
                .map(|figures| (figures, figures.init_factor(run), INIT_FACTOR)),
        ),
        most(
            "peak memory after 200 requests, MB",
            &format!("{PEAK_MB}, unless it has the memory to hash passwords"),
            requests(run)
                .filter(|(figures, _)| function(figures).is_some_and(|it| it.memory_mb < HASHING_MB))
                .map(|(figures, requests)| (figures, requests.warm.peak_mb, PEAK_MB)),
        ),
        most(
            "zipped size, MB",
            &ZIPPED_MB.to_string(),
            run.functions.iter().map(|figures| (figures, figures.zipped_mb, ZIPPED_MB)),
        ),
        most(
            "CPU of a warm request, ms",
            "0.8 message-send, 0.5 chatroom-list, 0.3 user-get",
            requests(run).filter_map(|(figures, requests)| {
                let limit = function(figures)?.facts.cpu_ms?;
                Some((figures, requests.warm.cpu_ms, limit))
            }),
        ),
    ];
    if let Some(replies) = &run.replies {
        let figure = "reply path less Gemini's time, median, ms";
        budgets.push(median(figure, replies.path_ms, REPLY_PATH_MS));
        let rate = replies.per_second;
        budgets.push(Budget {
            figure: "replies per second, batches of 10, Gemini 1 s",
            limit: format!("≥ {REPLIES_PER_SECOND}"),
            worst: format!("{rate:.2}"),
            holds: rate >= REPLIES_PER_SECOND,
        });
    }
    if let Some(streams) = &run.streams {
        let figure = "first piece of a stream less Gemini's time, median, ms";
        budgets.push(median(figure, streams.first_piece_ms, FIRST_PIECE_MS));
        let Streams { seconds, statements_per_second: rate, cpu_ms, .. } = streams;
        budgets.push(Budget {
            figure: "SQL statements a second while a reply is written",
            limit: format!("≤ {STATEMENTS_PER_SECOND}"),
            worst: format!("{rate:.2} ({seconds:.0} s, {cpu_ms:.0} ms of CPU)"),
            holds: *rate <= STATEMENTS_PER_SECOND,
        });
    }
    budgets.extend(costs(run, catalogue).iter().map(dollars));
    budgets
}

/// Returns the budget of a million messages, which holds for replies of three seconds.
fn dollars(cost: &Cost) -> Budget {
    let most = match (cost.way, cost.seconds) {
        ("streamed", 3) => 8.0,
        (_, 3) => 17.0,
        _ => f64::INFINITY,
    };
    Budget {
        figure: "US$ for a million messages",
        limit: if most.is_finite() { format!("≤ {most}") } else { "–".to_owned() },
        worst: format!("{:.2} ({}, {} s)", cost.dollars(), cost.way, cost.seconds),
        holds: cost.dollars() <= most,
    }
}

/// Compares a median.
fn median(figure: &'static str, spread: Spread, limit: f64) -> Budget {
    Budget { figure, limit: format!("≤ {limit}"), worst: spread.to_string(), holds: spread.median <= limit }
}

/// Compares functions that each have a figure and a limit. The worst is the one nearest to its limit, or furthest
/// beyond it.
fn most<'a>(figure: &'static str, limit: &str, figures: impl Iterator<Item = (&'a Figures, f64, f64)>) -> Budget {
    let excess = |(_, value, limit): &(_, f64, f64)| value - limit;
    let worst = figures.max_by(|a, b| excess(a).total_cmp(&excess(b)));
    Budget {
        figure,
        limit: format!("≤ {limit}"),
        holds: worst.is_none_or(|(_, value, limit)| value <= limit),
        worst: worst.map_or_else(|| "–".to_owned(), |(figures, value, _)| format!("{value:.2} ({})", figures.function)),
    }
}

impl Figures {
    /// Divides its time to start by hello's.
    pub fn init_factor(&self, run: &Run) -> f64 {
        self.init_ms.median / run.hello.init_ms.median
    }
}

fn requests(run: &Run) -> impl Iterator<Item = (&Figures, &Requests)> {
    let functions = run.functions.iter();
    functions.filter_map(|figures| Some((figures, figures.requests.as_ref()?)))
}
