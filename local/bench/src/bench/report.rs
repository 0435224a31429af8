//! Writes the figures as Markdown.

use std::fmt::Write as _;

use super::{
    budgets::{Budget, budgets},
    cost::{self, costs},
    figures::{Figures, Requests, Run},
    sizes::best,
};
use local_stack::lambda::functions::Catalogue;

/// Returns the table of the budgets, all tables, and whether every budget holds.
pub fn markdown(run: &Run, catalogue: &Catalogue) -> (String, String, bool) {
    let budgets = budgets(run, catalogue);
    let tables = [
        format!("{}, {} cores of {}. Medians, with quartiles in brackets.", run.date, run.cores, run.processor),
        kept(&budgets),
        starts(run),
        requests(run),
        sizes(run),
        cost::table(&costs(run, catalogue)),
    ];
    let holds = budgets.iter().all(|budget| budget.holds);
    (kept(&budgets), tables.join("\n\n"), holds)
}

fn kept(budgets: &[Budget]) -> String {
    let rows = budgets.iter().map(|budget| {
        let verdict = if budget.holds { "holds" } else { "**exceeded**" };
        vec![budget.figure.to_owned(), budget.limit.clone(), budget.worst.clone(), verdict.to_owned()]
    });
    table(&["figure", "budget", "worst", ""], rows)
}

fn starts(run: &Run) -> String {
    let columns = [
        "function",
        "init, ms",
        "× hello",
        "first request, ms",
        "of it Postgres",
        "queue and state",
        "Stripe, Gemini",
        "itself",
        "peak, MB",
        "zip, MB",
    ];
    let rows = all(run).map(|figures| {
        let part = |name: &str| {
            let requests = figures.requests.as_ref()?;
            requests.first_parts_ms.get(name).copied()
        };
        let vendors = part("Stripe").into_iter().chain(part("Gemini"));
        let vendors = vendors.reduce(|a, b| a + b);
        vec![
            figures.function.clone(),
            figures.init_ms.to_string(),
            format!("{:.2}", figures.init_factor(run)),
            of(figures, |requests| requests.first_ms.to_string()),
            number(part("Postgres")),
            number(part("queue and state")),
            number(vendors),
            number(part("itself")),
            of(figures, |requests| format!("{:.1}", requests.warm.peak_mb)),
            format!("{:.2}", figures.zipped_mb),
        ]
    });
    table(&columns, rows)
}

fn requests(run: &Run) -> String {
    let columns = ["warm request", "p50, ms", "p99, ms", "CPU, ms"];
    let rows = all(run).filter_map(|figures| {
        let requests = figures.requests.as_ref()?;
        let warm = requests.warm;
        Some(vec![
            figures.function.clone(),
            format!("{:.2}", warm.p50_ms),
            format!("{:.2}", warm.p99_ms),
            format!("{:.2}", warm.cpu_ms),
        ])
    });
    table(&columns, rows)
}

fn sizes(run: &Run) -> String {
    let columns = ["with the processor of", "MB", "p50, ms", "p99, ms", "GB-s a million", "US$ a million"];
    let rows = all(run).flat_map(|figures| {
        let best = best(&figures.sizes).map(|size| size.memory_mb);
        figures.sizes.iter().map(move |size| {
            let chosen = best == Some(size.memory_mb);
            vec![
                figures.function.clone(),
                if chosen { format!("**{}**", size.memory_mb) } else { size.memory_mb.to_string() },
                format!("{:.2}", size.warm.p50_ms),
                format!("{:.2}", size.warm.p99_ms),
                format!("{:.0}", size.gb_seconds(0.0)),
                format!("{:.3}", size.dollars()),
            ]
        })
    });
    table(&columns, rows)
}

fn all(run: &Run) -> impl Iterator<Item = &Figures> {
    std::iter::once(&run.hello).chain(&run.functions)
}

fn of(figures: &Figures, show: impl Fn(&Requests) -> String) -> String {
    figures.requests.as_ref().map_or_else(String::new, show)
}

fn number(number: Option<f64>) -> String {
    number.map_or_else(String::new, |number| format!("{number:.2}"))
}

fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|", columns.join(" | "));
    text += &" --- |".repeat(columns.len());
    for row in rows {
        let _ = write!(text, "\n| {} |", row.join(" | ")); // writing to a string does not fail
    }
    text
}
