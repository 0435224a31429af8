//! `cargo local bench`: measures what the functions cost, and holds it to their budgets.
//!
//! Release builds run against the local services, driven through the Runtime API by the benchmark itself. A bare
//! `lambda_http` function with the same profile, `hello`, shows the part that is not ours.

mod budgets;
mod cases;
mod cost;
mod database;
pub mod figures;
mod growth;
mod measure;
mod millions;
mod process;
mod quota;
mod replies;
mod report;
mod size;
mod sizes;
mod stock;
mod streams;
mod timing;
mod tls;
mod traffic;
pub mod usage;

use std::{fs, path::PathBuf, thread::available_parallelism};

use anyhow::{Context, Result, bail};
use time::OffsetDateTime;

use cases::{Cases, sender_of_codes};
use figures::{Figures, Run};
use local_stack::{
    lambda::functions::Catalogue,
    machine::{ports::Port, progress::Step, workspace::Workspace},
    services::Services,
    settings::Settings,
    system::make_data,
};
use local_stand_ins::{gemini::Gemini, stripe::Reserved};
use measure::Bench;
use stock::Stock;

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
    /// Also measures with a million rooms and ten million messages, which takes some minutes and 8 GB.
    #[arg(long)]
    millions: bool,
    /// Where to write the figures.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
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
    if options.millions {
        packages.extend(millions::FUNCTIONS);
    }
    workspace.build_packages(&packages).await?;

    let services = Services::start(&workspace, local_stack::machine::ports::Ports::Free).await?;
    let name = format!("bench_{}", std::process::id());
    let run = measured(&workspace, &catalogue, &services, &name, &functions, options.millions).await?;

    let (text, holds) = report::markdown(&run, &catalogue);
    println!("{text}");
    if options.cost {
        let document = workspace.root.join("docs/operations.md");
        cost::write(&document, &cost::costs(&run, &catalogue))?;
        eprintln!("Written to {}.", document.display());
    }
    let json = options.json.clone();
    let json = json.unwrap_or_else(|| workspace.target.join("local/bench.json"));
    fs::write(&json, serde_json::to_string_pretty(&run)?)
        .with_context(|| format!("cannot write {}", json.display()))?;
    eprintln!("Written to {}.", json.display());
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
    name: &str,
    functions: &[String],
    millions: bool,
) -> Result<Run> {
    let gemini = Gemini::start(Port::Free.listen()?)?;
    let stripe = Reserved::at(Port::Free.listen()?)?;
    let mut own = make_data(services, name).await?;
    own.extend(gemini.variables());
    own.extend(stripe.variables());
    let variables = settings().variables(own)?;
    let nobody = "http://127.0.0.1:9/".to_owned(); // the benchmark makes its own events
    let _stripe = stripe.serve(nobody, &variables, local_stack::machine::http::client()?);

    let step = Step::begin("Filling the database");
    let stock = Stock::lay(&variables["DATABASE_URL"], &variables["JWT_PRIVATE_KEY"]).await?;
    step.done();
    let samples = workspace.root.join("events");
    let cases = Cases::new(catalogue, &samples, &stock, &variables);
    let bench = Bench::new(workspace, variables.clone(), cases).await?;

    let step = Step::begin("Measuring");
    step.show("starts");
    let mut started = vec![HELLO.to_owned()];
    started.extend_from_slice(functions);
    let inits = bench.inits(&started).await?;
    let quotas = sizes::quotas();
    let mut figures = Vec::new();
    for function in started {
        step.show(&function);
        let binary = workspace.binary(&function);
        let requests = bench.requests(&function).await;
        let requests = requests.with_context(|| format!("cannot measure {function}"))?;
        let sizes = match requests {
            Some(_) => sizes::measure(&bench, &quotas, &function).await?,
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
    let replies = if is_measured(replies::CONSUMER) { Some(replies::measure(&bench).await?) } else { None };
    let streams = if is_measured(streams::STREAM) { Some(streams::measure(&bench).await?) } else { None };
    step.show("growth");
    let mut growth = growth::measure(&bench, functions).await?;
    if millions {
        step.show("millions");
        growth.extend(millions::measure(&bench, services, name).await?);
    }
    step.done();
    Ok(Run {
        date: OffsetDateTime::now_utc().date().to_string(),
        processor: processor(),
        cores: available_parallelism()?.get(),
        hello: figures.remove(0),
        functions: figures,
        replies,
        streams,
        growth,
    })
}

/// Sets limits that nobody reaches.
fn settings() -> Settings {
    let many = 1_000_000;
    let settings = Settings {
        release: true,
        queue: local_stack::settings::Queue::Sqs,
        state: local_stack::settings::State::Dynamodb,
        ..Settings::default()
    };
    let settings = settings.with("BASIC_DAILY_MESSAGES", many).with("BASIC_DAILY_TOKENS", 1_000_000_000);
    settings
        .with("STRIPE_PAGES_PER_USER_HOUR", many)
        .with("CHATROOMS_PER_USER", many)
        .with("NEW_CHATROOMS_PER_USER_HOUR", many)
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
