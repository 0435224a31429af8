//! Facts about functions that the template does not say.

use std::time::Duration;

/// How many requests a function may serve at once, and for how long each.
pub struct Limits {
    /// How many requests at once.
    pub environments: usize,
    /// For how long each.
    pub timeout: Duration,
}

impl Limits {
    /// A long poll occupies its environment, and an answer takes as long as Gemini.
    pub fn of(function: &str) -> Self {
        let (environments, seconds) = match function {
            "message-get" => (16, 30),
            "message-answer" => (4, 180),
            "message-drain" => (1, 180),
            "message-send" => (4, 30),
            "migrate" | "subscription-sync" => (2, 300),
            _ => (2, 30),
        };
        Self {
            environments,
            timeout: Duration::from_secs(seconds),
        }
    }
}

/// How long a function may take.
pub fn timeout_of(function: &str) -> Duration {
    Limits::of(function).timeout
}
