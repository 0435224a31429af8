//! `cargo local bench`: measures what the functions cost, and holds it to their budgets.
//!
//! Release builds run against the local services, each driven by itself through the Runtime API. A bare `lambda_http`
//! function with the same profile, `hello`, shows the part that is not ours. The tests count what a request asks of
//! others.

mod budgets;
mod cost;
pub mod figures;
mod measure;
mod quota;
mod replies;
mod report;
mod size;
mod sizes;
mod streams;
mod timing;
pub mod usage;

use std::{fs, thread::available_parallelism};

use anyhow::{Context, Result, bail};
use time::OffsetDateTime;

use figures::{Figures, Run};
use local_stack::{
    lambda::functions::Catalogue,
    machine::{ports::Ports, progress::Step, workspace::Workspace},
    services::Services,
};
use local_suite::single::{Driver, sender_of_codes};

/// The function that does nothing.
const HELLO: &str = "hello";

/// The functions that users wait for most.
const DEFAULT: [&str; 9] = [
    "user-get",
    "chatroom-list",
    "chatroom-get",
    "message-send",
    "message-get",
    streams::STREAM,
    replies::CONSUMER,
    "subscription-checkout",
    "stripe-webhook",
];

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    /// Only this function. May be given more than once.
    #[arg(long = "function", value_name = "NAME")]
    functions: Vec<String>,
    /// Every function.
    #[arg(long)]
    all: bool,
    /// Only what a message takes, and writes the table of what that costs into `docs/operations.md`.
    #[arg(long)]
    cost: bool,
}

/// Measures, prints and writes the figures, and returns whether every budget holds.
pub async fn run(options: &Options) -> Result<bool> {
    let workspace = Workspace { release: true, ..Workspace::find()? };
    let functions = chosen(&workspace, options)?;
    let catalogue = Catalogue::read(&workspace.root)?;
    let mut packages = vec![HELLO];
    for function in &functions {
        packages.extend([Some(function.as_str()), sender_of_codes(function)].into_iter().flatten());
    }
    workspace.build_packages(&packages).await?;

    let services = Services::start(&workspace, Ports::Free).await?;
    let run = measured(&workspace, &catalogue, &services, &functions).await?;

    let (budgets, tables, holds) = report::markdown(&run, &catalogue);
    println!("{budgets}");
    if options.cost {
        let document = workspace.root.join("docs/operations.md");
        cost::write(&document, &cost::costs(&run, &catalogue))?;
        eprintln!("Written to {}.", document.display());
    }
    let file = workspace.target.join("local/bench.md");
    fs::write(&file, tables).with_context(|| format!("cannot write {}", file.display()))?;
    eprintln!("All figures are in {}.", file.display());
    Ok(holds)
}

fn chosen(workspace: &Workspace, options: &Options) -> Result<Vec<String>> {
    let known = workspace.functions()?;
    if let Some(unknown) = options.functions.iter().find(|name| !known.contains(name)) {
        bail!("there is no function {unknown}; there are: {}", known.join(" "));
    }
    Ok(match options {
        Options { all: true, .. } => known,
        Options { functions, .. } if !functions.is_empty() => functions.clone(),
        Options { cost: true, .. } => cost::FUNCTIONS.map(str::to_owned).to_vec(),
        _ => DEFAULT.map(str::to_owned).to_vec(),
    })
}

async fn measured(
    workspace: &Workspace,
    catalogue: &Catalogue,
    services: &Services,
    functions: &[String],
) -> Result<Run> {
    let step = Step::begin("Filling the database");
    let driver = Driver::start(workspace.clone(), catalogue.clone(), services).await?;
    step.done();

    let step = Step::begin("Measuring");
    step.show("starts");
    let mut started = vec![HELLO.to_owned()];
    started.extend_from_slice(functions);
    let inits = measure::inits(&driver, &started).await?;
    let quotas = sizes::quotas();
    let mut figures = Vec::new();
    for function in started {
        step.show(&function);
        let binary = workspace.binary(&function);
        let requests = measure::requests(&driver, &function).await;
        let requests = requests.with_context(|| format!("cannot measure {function}"))?;
        let sizes = match requests {
            Some(_) => sizes::measure(&driver, &quotas, &function).await?,
            None => Vec::new(),
        };
        figures.push(Figures {
            init_ms: inits[&function],
            zipped_mb: megabytes(size::zipped(&binary)?),
            requests,
            sizes,
            function,
        });
    }
    let is_measured = |function: &str| functions.iter().any(|it| it == function);
    step.show("replies");
    let replies = if is_measured(replies::CONSUMER) { Some(replies::measure(&driver).await?) } else { None };
    let streams = if is_measured(streams::STREAM) { Some(streams::measure(&driver).await?) } else { None };
    step.done();
    Ok(Run {
        date: OffsetDateTime::now_utc().date().to_string(),
        processor: processor(),
        cores: available_parallelism()?.get(),
        hello: figures.remove(0),
        functions: figures,
        replies,
        streams,
    })
}

#[expect(clippy::cast_precision_loss, reason = "sizes are small enough")]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

/// Reads the processor's name.
fn processor() -> String {
    let known = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = known.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.and_then(|line| line.split_once(':'));
    model.map_or_else(|| "unknown make".to_owned(), |(_, name)| name.trim().to_owned())
}
