//! Makes the steps of a run from its seed.

use fastrand::Rng;
use serde_json::{Value, json};

/// How many people post, and in how many rooms each.
pub const USERS: usize = 4;
pub const ROOMS: usize = 6;

/// In how many rooms one more user posts at once.
pub const FLOODED: usize = 20;

/// Functions that are killed. The worker dies more often than the others.
const VICTIMS: [&str; 5] = [WORKER, WORKER, WORKER, "message-send", "message-sweep"];

/// Stands for the function that answers messages, which depends on the queue.
pub const WORKER: &str = "worker";

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Somebody posts in one of their rooms.
    Post {
        /// Who.
        user: usize,
        /// Where.
        room: usize,
    },
    /// The processes of a function are killed.
    Kill(&'static str),
    /// Somebody logs out everywhere and signs in again.
    LogOut {
        /// Who.
        user: usize,
    },
    /// Somebody stops the reply to their newest message, whatever has become of it.
    Stop {
        /// Who.
        user: usize,
    },
    /// A stranger guesses at somebody's password.
    Guess,
    /// Somebody new signs up, posts and deletes the account at once.
    Leave,
    /// Somebody's plan changes.
    Plan {
        /// Whose.
        user: usize,
        /// To a paid one, or back.
        pro: bool,
    },
    /// Somebody posts a message that Gemini answers badly each time.
    Poison {
        /// Who.
        user: usize,
        /// Where.
        room: usize,
        /// How the calls for it go.
        outcomes: Vec<Value>,
    },
    /// One user posts in many rooms at once.
    Flood,
    /// A room is woken for nothing, several times.
    Duplicate {
        /// Whose.
        user: usize,
        /// Which.
        room: usize,
        /// How often.
        times: usize,
    },
    /// No wake-up is delivered for a while.
    Delay {
        /// During how many steps.
        steps: usize,
        /// Whether those that wait then are lost.
        lost: bool,
    },
    /// How one of Gemini's next calls goes.
    Gemini(Value),
    /// Postgres crashes and comes back after so many milliseconds.
    Restart(u64),
    /// So many milliseconds go by.
    Wait(u64),
}

/// Draws the steps of a run.
pub fn schedule(seed: u64, steps: usize) -> Vec<Step> {
    let mut random = Rng::with_seed(seed);
    (0..steps).map(|_| step(&mut random)).collect()
}

fn step(random: &mut Rng) -> Step {
    let (user, room) = (random.usize(..USERS), random.usize(..ROOMS));
    match random.u32(..100) {
        0..39 => Step::Post { user, room },
        39..43 => Step::Stop { user },
        43..44 => Step::Guess,
        44..55 => Step::Wait(random.u64(10..400)),
        55..67 => Step::Gemini(outcome(random)),
        67..76 => Step::Kill(VICTIMS[random.usize(..VICTIMS.len())]),
        76..78 => Step::LogOut { user },
        78..79 => Step::Leave,
        79..81 => Step::Plan { user, pro: random.bool() },
        81..84 => Step::Poison { user, room, outcomes: poison(random) },
        84 => Step::Flood,
        85..91 => Step::Duplicate { user, room, times: random.usize(1..6) },
        91..98 => Step::Delay { steps: random.usize(2..10), lost: random.bool() },
        _ => Step::Restart(random.u64(..1_000)),
    }
}

fn outcome(random: &mut Rng) -> Value {
    match random.u32(..12) {
        0..3 => json!({ "status": 503 }),
        3 => json!({ "status": 429 }),
        4 => json!({ "status": 429, "retry_delay": "1s" }),
        5 => json!({ "status": 400 }),
        6 => json!({ "cut": true }),
        7 => json!({ "error_in_stream": 500 }),
        8 => json!({ "block": "SAFETY" }),
        9 => json!({ "hang": true, "text": "" }),
        _ => json!({ "delay_ms": random.u64(50..1_500) }),
    }
}

/// Outcomes after which a message still has its one end, and its room goes on.
fn poison(random: &mut Rng) -> Vec<Value> {
    match random.u32(..5) {
        0 => vec![json!({ "status": 429, "retry_delay": "1e19s" })],
        1 => vec![json!({ "hang": true, "text": "" }); 2],
        2 => vec![json!({ "finish": "OTHER" }); 3],
        3 => vec![json!({ "text": "" }); 3],
        _ => vec![json!({ "unframed_error": 400 })],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_steps_and_another_one_others() {
        assert_eq!(schedule(7, 500), schedule(7, 500));
        assert_ne!(schedule(7, 500), schedule(8, 500));
        assert_eq!(schedule(7, 500)[..100], schedule(7, 100), "more steps only go on");
    }
}
