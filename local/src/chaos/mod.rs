//! Runs a random test: users post while workers are killed, wake-ups are lost, delayed and doubled, Gemini fails and
//! Postgres restarts. Then all faults end, and every message must be settled exactly once.
//!
//! The steps follow from a seed; their timing does not.

mod check;
mod figures;
mod schedule;

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc::{self, Sender},
    time::sleep,
};

use crate::{
    harness::{Api, PATIENCE, User},
    lambda::{functions::worker, triggers::Paused},
    machine::lock,
    services::Services,
    settings::Settings,
    system::System,
};
pub use figures::Figures;
use schedule::{ROOMS, Step, USERS, WORKER};

/// The number of posts under way at once.
const CONCURRENCY: usize = 8;

/// Sets limits and times with which a run takes a reasonable time.
pub fn settings(settings: Settings) -> Settings {
    settings
        .with("BASIC_DAILY_MESSAGES", 1_000_000)
        .with("ANSWER_LEASE_SECONDS", 2)
        .with("ANSWER_TIMEOUT_SECONDS", 3)
        .with("SWEEP_AFTER_SECONDS", 2)
        .with("MESSAGE_DEADLINE_SECONDS", 600)
        .with("HISTORY_TOKENS", 1_000_000)
        .with("CHATROOM_CACHE", "state")
}

struct Run<'a> {
    services: &'a Services,
    system: &'a System,
    people: Vec<Person<'a>>,
    figures: Mutex<Figures>,
    /// The ids of the messages with a 202.
    accepted: Mutex<Vec<String>>,
}

struct Person<'a> {
    user: User<'a>,
    /// The paths of the user's rooms.
    rooms: Vec<String>,
}

/// Wake-ups that are held back.
struct Held {
    _paused: Paused,
    /// The step before which they are let go.
    until: usize,
    lost: bool,
}

/// A message on its way into a room.
struct Post {
    user: usize,
    room: usize,
    number: usize,
}

/// Runs so many steps on a new system whose Postgres is its own.
pub async fn run(services: &Services, system: &System, seed: u64, steps: usize) -> Result<Figures> {
    let api = Api::of(system);
    let run = Run {
        services,
        system,
        people: people(&api).await,
        figures: Mutex::default(),
        accepted: Mutex::default(),
    };
    check::watch_settlements(system).await?;
    system.hide_logs();
    let (posts, waiting) = mpsc::channel(CONCURRENCY);
    let waiting = stream::unfold(waiting, async |mut waiting| {
        waiting.recv().await.map(|post| (post, waiting))
    });
    let accepting = async {
        let accepted = waiting
            .map(|post| run.post(post))
            .buffer_unordered(CONCURRENCY);
        let failed = accepted.filter_map(async |accepted: Result<()>| accepted.err());
        let failed: Vec<_> = failed.collect().await;
        failed.into_iter().next().map_or(Ok(()), Err)
    };
    tokio::try_join!(run.play(seed, steps, posts), accepting)?;
    run.heal().await?;
    let accepted = lock(&run.accepted).clone();
    let mut figures = *lock(&run.figures);
    check::figures(system, &accepted, &mut figures).await?;
    ensure!(figures.lost == 0 && figures.doubled == 0, "{figures}");
    check::order_history_and_counters(system).await?;
    Ok(figures)
}

async fn people(api: &Api) -> Vec<Person<'_>> {
    let mut people = Vec::new();
    for _ in 0..USERS {
        let user = api.user().await;
        let mut rooms = Vec::new();
        for _ in 0..ROOMS {
            rooms.push(user.room().await);
        }
        people.push(Person { user, rooms });
    }
    people
}

impl Run<'_> {
    async fn play(&self, seed: u64, steps: usize, posts: Sender<Post>) -> Result<()> {
        let mut held: Option<Held> = None;
        for (number, step) in schedule::schedule(seed, steps).into_iter().enumerate() {
            if let Some(over) = held.take_if(|held| held.until == number) {
                self.let_go(over).await?;
            }
            match step {
                Step::Post { user, room } => {
                    let post = Post { user, room, number };
                    posts.send(post).await.ok().context("nobody posts")?;
                }
                Step::Delay { steps, lost } if held.is_none() => {
                    lock(&self.figures).delays += 1;
                    held = Some(Held {
                        _paused: self.system.deliveries().pause().await,
                        until: number + steps,
                        lost,
                    });
                }
                step => self.fault(step).await?,
            }
        }
        Ok(())
    }

    async fn let_go(&self, held: Held) -> Result<()> {
        if held.lost {
            let drops = self.system.lose_messages().await?;
            lock(&self.figures).drops += drops;
        }
        Ok(())
    }

    async fn fault(&self, step: Step) -> Result<()> {
        match step {
            Step::Kill(function) => {
                let kills = self.system.kill(self.function(function))?;
                lock(&self.figures).kills += kills;
            }
            Step::Duplicate { user, room, times } => {
                let path = &self.people[user].rooms[room];
                let id = path.trim_start_matches("/chatroom/");
                let wake_up = self.system.wake_up(id).await?;
                for _ in 0..times {
                    self.system.send_to_queue(&wake_up).await?;
                }
                lock(&self.figures).duplicates += times;
            }
            Step::Gemini(outcome) => self.system.script(&json!([outcome])).await?,
            Step::Restart(milliseconds) => {
                let postgres = self.services.postgres()?;
                postgres.stop().await?;
                sleep(Duration::from_millis(milliseconds)).await;
                postgres.resume().await?;
                lock(&self.figures).restarts += 1;
            }
            Step::Wait(milliseconds) => sleep(Duration::from_millis(milliseconds)).await,
            Step::Post { .. } | Step::Delay { .. } => {}
        }
        Ok(())
    }

    fn function(&self, name: &'static str) -> &'static str {
        match name {
            WORKER => worker(self.system.queue_kind()),
            name => name,
        }
    }

    /// Posts as a careful client does: with an idempotency key, and again until it is accepted.
    async fn post(&self, post: Post) -> Result<()> {
        lock(&self.figures).posts += 1;
        let Person { user, rooms } = &self.people[post.user];
        let path = format!("{}/message", rooms[post.room]);
        let content = json!({ "content": format!("message {}", post.number) });
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            lock(&self.figures).requests += 1;
            let request = user.request(Method::POST, &path).json(&content);
            let request = request.header("idempotency-key", format!("step-{}", post.number));
            let Ok(response) = request.send().await else {
                continue;
            };
            match response.status().as_u16() {
                202 => {
                    let message: Value = response.json().await?;
                    let id = message["id"].as_str().context("a message has an id")?;
                    lock(&self.accepted).push(id.to_owned());
                    return Ok(());
                }
                // A process was killed, or Postgres is away.
                500.. => sleep(Duration::from_millis(200)).await,
                status => bail!("a post was answered {status}: {}", response.text().await?),
            }
        }
        bail!("message {} was not accepted", post.number)
    }

    /// Ends all faults, and waits until every message is settled.
    async fn heal(&self) -> Result<()> {
        let script = format!("{}/_script", self.system.gemini_url()?);
        let forget = self.system.client().delete(script);
        forget.send().await?.error_for_status()?;
        let mut left = (0, Instant::now());
        loop {
            self.system.run_schedule("message-sweep").await?;
            let unsettled = check::unsettled(self.system).await?;
            if unsettled == 0 {
                return Ok(());
            }
            if unsettled != left.0 {
                left = (unsettled, Instant::now());
            }
            ensure!(
                left.1.elapsed() < PATIENCE,
                "{unsettled} messages stay without an end; see {}",
                self.system.logs().display()
            );
            sleep(Duration::from_millis(200)).await;
        }
    }
}
