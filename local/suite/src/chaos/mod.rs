//! Lets people post at random while workers are killed, wake-ups are lost, delayed and doubled, Gemini fails, Postgres
//! restarts, and people log out, leave, change their plans, stop replies or flood their rooms. Then everything is well
//! again, and every message must have come to its one end. At last one user floods many rooms once more, and strangers
//! must not have to wait for that.
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
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc::{self, Sender},
    time::sleep,
};

use crate::harness::{Api, PASSWORD, PATIENCE, User};
use check::LEAVING;
pub use figures::Figures;
use local_stack::{
    lambda::{functions::worker, triggers::Paused},
    machine::lock,
    services::Services,
    settings::Settings,
    system::System,
};
use schedule::{FLOODED, ROOMS, Step, USERS, WORKER};

/// The number of posts under way at once.
const CONCURRENCY: usize = 8;

/// Sets limits and times with which a run takes a reasonable time.
pub fn settings(settings: Settings) -> Settings {
    settings
        .with("BASIC_DAILY_MESSAGES", 1_000_000)
        .with("PRO_DAILY_MESSAGES", 1_000_000)
        .with("BASIC_DAILY_TOKENS", 1_000_000_000)
        .with("OTP_CODES_PER_ADDRESS_HOUR", 100_000)
        .with("ANSWER_LEASE_SECONDS", 2)
        .with("ANSWER_TIMEOUT_SECONDS", 3)
        .with("SWEEP_AFTER_SECONDS", 2)
        // Here wake-ups get lost that the sweep has sent.
        .with("SWEEP_AGAIN_SECONDS", 2)
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
    /// The access token of the newest session.
    token: Mutex<String>,
    /// The paths of the user's rooms.
    rooms: Vec<String>,
    /// The path of the newest message with a 202.
    newest: Mutex<Option<String>>,
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
    /// Unique, and so a key too.
    content: String,
}

/// The person who floods rooms, and one who does not, among those who post at random.
const FLOODER: usize = USERS;
const STRANGER: usize = USERS + 1;

/// How many messages the last flood puts into each room, and for how long Gemini writes at each.
const BACKLOG: usize = 5;
const WRITING_MS: u64 = 400;

/// No stranger waits longer than this while somebody floods rooms.
const STRANGER_PATIENCE: Duration = Duration::from_secs(10);

/// Runs so many steps on a new system whose Postgres is its own.
pub async fn run(services: &Services, system: &System, seed: u64, steps: usize) -> Result<Figures> {
    let api = Api::of(system);
    let run =
        Run { services, system, people: people(&api).await, figures: Mutex::default(), accepted: Mutex::default() };
    check::watch_settlements(system).await?;
    system.hide_logs();
    let (posts, waiting) = mpsc::channel(CONCURRENCY);
    let waiting = stream::unfold(waiting, async |mut waiting| waiting.recv().await.map(|post| (post, waiting)));
    let accepting = async {
        let accepted = waiting.map(|post| run.post(post)).buffer_unordered(CONCURRENCY);
        let failed = accepted.filter_map(async |accepted: Result<()>| accepted.err());
        let failed: Vec<_> = failed.collect().await;
        failed.into_iter().next().map_or(Ok(()), Err)
    };
    tokio::try_join!(run.play(seed, steps, posts), accepting)?;
    run.heal().await?;
    run.flood_while_strangers_post().await?;
    run.heal().await?;
    let accepted = lock(&run.accepted).clone();
    let mut figures = *lock(&run.figures);
    check::figures(system, &accepted, &mut figures).await?;
    ensure!(figures.lost == 0 && figures.doubled == 0, "{figures}");
    ensure!(figures.stranger_ms <= STRANGER_PATIENCE.as_millis(), "{figures}");
    check::order_history_and_counters(system).await?;
    Ok(figures)
}

async fn people(api: &Api) -> Vec<Person<'_>> {
    let mut people = Vec::new();
    for person in 0..=STRANGER {
        let user = api.user().await;
        user.set_password().await;
        let mut rooms = Vec::new();
        for _ in 0..if person == FLOODER { FLOODED } else { ROOMS } {
            rooms.push(user.room().await);
        }
        people.push(Person { token: Mutex::new(user.token.clone()), user, rooms, newest: Mutex::default() });
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
                    let content = format!("message {number}.");
                    let post = Post { user, room, content };
                    posts.send(post).await.ok().context("nobody posts")?;
                }
                Step::Poison { user, room, mut outcomes } => {
                    let content = format!("poison {number}.");
                    for outcome in &mut outcomes {
                        outcome["match"] = json!(content);
                    }
                    self.system.script(&json!(outcomes)).await?;
                    lock(&self.figures).poisons += 1;
                    let post = Post { user, room, content };
                    posts.send(post).await.ok().context("nobody posts")?;
                }
                Step::Flood => {
                    lock(&self.figures).floods += 1;
                    for room in 0..FLOODED {
                        let post = Post { user: FLOODER, room, content: format!("flood {number} in {room}.") };
                        posts.send(post).await.ok().context("nobody posts")?;
                    }
                }
                Step::Delay { steps, lost } if held.is_none() => {
                    lock(&self.figures).delays += 1;
                    held = Some(Held { _paused: self.system.deliveries().pause().await, until: number + steps, lost });
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
            Step::LogOut { user } => self.log_out(&self.people[user]).await?,
            Step::Stop { user } => self.stop(&self.people[user]).await?,
            Step::Guess => self.guess().await?,
            Step::Leave => self.leave().await,
            Step::Plan { user, pro } => self.change_plan(&self.people[user], pro).await?,
            Step::Post { .. } | Step::Poison { .. } | Step::Flood | Step::Delay { .. } => {}
        }
        Ok(())
    }

    async fn log_out(&self, person: &Person<'_>) -> Result<()> {
        lock(&self.figures).accounts += 1;
        let api = person.user.api;
        let token = lock(&person.token).clone();
        let everywhere = api.request(Method::POST, "/auth/logout").json(&json!({ "everywhere": true }));
        let out = api.send(everywhere.bearer_auth(token)).await;
        ensure!(out.status == 204, "logging out is answered {}", out.status);
        let session = api.log_in(&person.user.mobile, PASSWORD).await.expect(200);
        let token = session["access_token"].as_str();
        let token = token.context("a session has a token")?;
        token.clone_into(&mut lock(&person.token));
        Ok(())
    }

    async fn stop(&self, person: &Person<'_>) -> Result<()> {
        let Some(message) = lock(&person.newest).clone() else {
            return Ok(()); // nothing was posted yet
        };
        lock(&self.figures).stops += 1;
        let token = lock(&person.token).clone();
        let stop = person.user.api.request(Method::POST, &format!("{message}/stop")).bearer_auth(token);
        let status = stop.send().await?.status().as_u16();
        ensure!([200, 503].contains(&status), "stopping {message} is answered {status}");
        Ok(())
    }

    /// Guesses at the password of somebody who need not sign in.
    async fn guess(&self) -> Result<()> {
        lock(&self.figures).guesses += 1;
        let User { api, mobile, .. } = &self.people[FLOODER].user;
        let status = api.log_in(mobile, "a wrong password").await.status;
        ensure!([401, 429, 503].contains(&status), "a wrong password is answered {status}");
        Ok(())
    }

    async fn leave(&self) {
        lock(&self.figures).accounts += 1;
        let user = self.people[0].user.api.user().await;
        let room = user.room().await;
        for number in 0..3 {
            // A process may be killed meanwhile.
            let _ = user.try_post(&room, &format!("{LEAVING} {number}")).await;
        }
        user.leave(204).await;
    }

    async fn change_plan(&self, person: &Person<'_>, pro: bool) -> Result<()> {
        lock(&self.figures).accounts += 1;
        let status = if pro { "active" } else { "canceled" };
        let sql = "insert into subscriptions (user_id, status) values ($1::text::uuid, $2)
                   on conflict (user_id) do update set status = excluded.status";
        let database = self.system.database().await?;
        database.execute(sql, &[&person.user.id, &status]).await?;
        Ok(())
    }

    /// One user fills many rooms, and a stranger posts single messages meanwhile. Everything is well.
    async fn flood_while_strangers_post(&self) -> Result<()> {
        let slow = json!({ "match": "last flood", "delay_ms": WRITING_MS });
        let script = json!(vec![slow; FLOODED * BACKLOG]);
        self.system.script(&script).await?;
        let numbers = (0..BACKLOG).flat_map(|turn| (0..FLOODED).map(move |room| (turn, room)));
        let flood = stream::iter(numbers)
            .map(|(turn, room)| {
                self.post(Post { user: FLOODER, room, content: format!("last flood {turn} in {room}.") })
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect::<Vec<()>>();
        let strangers = async {
            for room in 0..ROOMS {
                let content = format!("stranger in {room}.");
                let start = Instant::now();
                let post = Post { user: STRANGER, room, content: content.clone() };
                self.post(post).await?;
                while !check::is_settled(self.system, &content).await? {
                    ensure!(start.elapsed() < PATIENCE, "a stranger waits for ever");
                    sleep(Duration::from_millis(50)).await;
                }
                let mut figures = lock(&self.figures);
                figures.stranger_ms = figures.stranger_ms.max(start.elapsed().as_millis());
            }
            Ok(())
        };
        tokio::try_join!(flood, strangers).map(drop)
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
        let Person { user, token, rooms, newest } = &self.people[post.user];
        let path = format!("{}/message", rooms[post.room]);
        let content = json!({ "content": post.content });
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            lock(&self.figures).requests += 1;
            let token = lock(token).clone();
            let request = user.api.request(Method::POST, &path).bearer_auth(token);
            let key = post.content.replace(' ', "-");
            let request = request.header("idempotency-key", key).json(&content);
            let Ok(response) = request.send().await else {
                continue;
            };
            match response.status().as_u16() {
                202 => {
                    let message: Value = response.json().await?;
                    let id = message["id"].as_str().context("a message has an id")?;
                    *lock(newest) = Some(format!("{path}/{id}"));
                    lock(&self.accepted).push(id.to_owned());
                    return Ok(());
                }
                // The session has just ended, a process was killed, or Postgres is away.
                401 | 500.. => sleep(Duration::from_millis(200)).await,
                status => bail!("a post was answered {status}: {}", response.text().await?),
            }
        }
        bail!("“{}” was not accepted", post.content)
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
