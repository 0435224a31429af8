//! `cargo local load`: many people use the system at once, as people do, while Gemini takes its usual time.
//!
//! They sign in, open rooms, post, wait for replies, and look at what they have, with time to think in between. What
//! they see is timed at their side of the gateway. The run ends by itself, at the latest [`PATIENCE`] after its time.

mod people;
mod records;

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout_at},
};

use crate::bench::usage::memory;
use local_stack::{machine::progress::Step, settings::Settings, system::System};
use local_suite::harness::Api;
use people::Person;
pub use records::Report;
use records::{Ending, Memory, Records};

/// More people than this, with their connections and processes, would measure the machine.
const MOST_USERS: usize = 2_000;

/// The number of environments that a function may have. A Lambda account has 1 000 for all functions together.
const ENVIRONMENTS: usize = 300;

/// The functions that people come to, and those behind them. To build all others for release would take long.
const FUNCTIONS: [&str; 11] = [
    "auth-signup",
    "auth-verify-otp",
    "chatroom-create",
    "chatroom-get",
    "chatroom-list",
    "message-send",
    "message-get",
    "message-stream",
    "message-answer",
    "message-drain",
    "message-sweep",
];

/// The number of people who arrive in a second, one after the other.
const ARRIVALS: f64 = 20.0;

/// The longest wait for the last reply.
const PATIENCE: Duration = Duration::from_secs(30);

/// The size of a run.
#[derive(clap::Args)]
pub struct Options {
    /// How many people.
    #[arg(long, default_value_t = 200)]
    users: usize,
    /// For how long after all have come.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Reads every reply while it is written; without it, people poll.
    #[arg(long)]
    stream: bool,
}

/// Returns the settings of a system under load: release builds that scale, and limits that nobody reaches.
#[must_use]
pub fn settings(settings: Settings) -> Settings {
    let many = 1_000_000;
    let settings =
        Settings { release: true, functions: Some(&FUNCTIONS), environments: Some(ENVIRONMENTS), ..settings };
    settings.with("BASIC_DAILY_MESSAGES", many).with("BASIC_DAILY_TOKENS", 1_000_000_000)
}

/// Lets people come, and reports what they saw.
pub async fn run(system: &System, options: &Options) -> Result<Report> {
    if options.users == 0 || options.users > MOST_USERS {
        bail!("--users must be from 1 to {MOST_USERS}");
    }
    let start = Instant::now();
    let arrivals = |number: usize| {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        Duration::from_secs_f64(f64::from(number) / ARRIVALS)
    };
    let end = start + arrivals(options.users) + Duration::from_secs(options.seconds);
    let records = Arc::new(Records::new(start));
    let idle = idle_time()?;

    let step = Step::begin("People come, talk and leave");
    let mut people = JoinSet::new();
    for number in 0..options.users {
        let api = Api::of(system);
        let person = Person::new(api, records.clone(), number, end, options.stream);
        let arrival = arrivals(number);
        people.spawn(async move {
            sleep(arrival).await;
            person.live().await;
        });
    }
    let mut watchers = JoinSet::new();
    watchers.spawn(probe(Api::of(system), records.clone()));
    let half = start + (end - start) / 2;
    sleep(half - Instant::now()).await;
    let half = memories(system);
    let left = timeout_at((end + PATIENCE).into(), async { while people.join_next().await.is_some() {} });
    let left = if left.await.is_err() { people.len() } else { 0 };
    step.done();
    drop(watchers);

    let elapsed = start.elapsed();
    let idle = idle_time()?.saturating_sub(idle).as_secs_f64();
    let cores = std::thread::available_parallelism()?;
    let idle = idle / elapsed.as_secs_f64() / f64::from(u32::try_from(cores.get())?);
    let memory = half.into_iter().map(|(function, half)| {
        let end = memory_of(system, function);
        Memory { function, half, end }
    });
    let ending = Ending { elapsed, left, idle, memory: memory.collect(), messages: messages(system).await? };
    Ok(records.report(options.users, ending))
}

/// The functions whose memory is watched: those that are asked most.
const WATCHED: [&str; 5] = ["message-send", "message-get", "message-stream", "message-answer", "message-drain"];

/// Returns the memory of each that runs.
fn memories(system: &System) -> Vec<(&'static str, f64)> {
    let memories = WATCHED.map(|function| (function, memory_of(system, function)));
    memories.into_iter().filter(|(_, memory)| *memory > 0.0).collect()
}

/// Returns the most memory that any process of a function holds now, in MB.
#[expect(clippy::cast_precision_loss, reason = "sizes are small enough")]
fn memory_of(system: &System, function: &str) -> f64 {
    let pids = system.pids(function);
    let memory = pids.into_iter().filter_map(|pid| memory(pid).ok());
    memory.max().unwrap_or_default() as f64 / 1e6
}

/// Asks once a second for what does not exist, which the gateway answers without any function.
async fn probe(api: Api, records: Arc<Records>) {
    loop {
        let asked = Instant::now();
        let request = api.request(reqwest::Method::GET, "/no-such-route");
        if request.send().await.is_ok() {
            records.gateway(asked.elapsed());
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Counts the messages: how many there are, and how many have a reply, failed, or were asked more than once.
async fn messages(system: &System) -> Result<[i64; 4]> {
    let sql = "select count(*), count(*) filter (where status = 'answered'),
                      count(*) filter (where status = 'failed'), count(*) filter (where asked > 1)
               from messages";
    let row = system.database().await?.query_one(sql, &[]).await?;
    Ok([0, 1, 2, 3].map(|column| row.get(column)))
}

/// Returns the processors' idle time so far (proc(5); ticks are hundredths of a second).
fn idle_time() -> Result<Duration> {
    let statistics = fs::read_to_string("/proc/stat")?;
    let idle = statistics.split_whitespace().nth(4);
    let ticks: u64 = idle.context("the system does not tell idle time")?.parse()?;
    Ok(Duration::from_millis(ticks * 10))
}
