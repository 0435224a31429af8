//! Reads the configuration: environment variables, once, when a function starts.
//!
//! A variable that is missing or malformed stops the function at init, with its name in the message. Handlers never
//! read the environment.

use std::{env, fmt::Display, str::FromStr};

use secrecy::SecretString;
use tracing::debug;

use crate::domain::{DailyLimits, Each};

/// Says which variable is wrong and why, without quoting a secret.
#[derive(Debug, thiserror::Error)]
#[error("environment variable {name} {problem}")]
pub struct ConfigError {
    name: &'static str,
    problem: String,
}

impl ConfigError {
    /// Reports that the variable `name` is not set.
    #[must_use]
    pub fn missing(name: &'static str) -> Self {
        Self { name, problem: "is missing".into() }
    }

    /// Reports that the value of the variable `name` does not work.
    pub fn malformed(name: &'static str, problem: impl Display) -> Self {
        Self { name, problem: format!("is malformed: {problem}") }
    }
}

/// Reads a variable that must be set.
///
/// # Errors
/// When it is missing, empty, not Unicode or not a `T`.
pub fn required<T: FromStr<Err: Display>>(name: &'static str) -> Result<T, ConfigError> {
    optional(name)?.ok_or_else(|| ConfigError::missing(name))
}

/// Reads a variable that has a default.
///
/// # Errors
/// When it is set, but not Unicode or not a `T`.
pub fn or_default<T: FromStr<Err: Display>>(name: &'static str, default: T) -> Result<T, ConfigError> {
    Ok(optional(name)?.unwrap_or(default))
}

/// Reads a variable that may be absent. An empty one counts as absent.
///
/// # Errors
/// When it is set, but not Unicode or not a `T`.
pub fn optional<T: FromStr<Err: Display>>(name: &'static str) -> Result<Option<T>, ConfigError> {
    debug!(variable = name, "reading the configuration");
    match env::var(name) {
        Ok(value) if !value.is_empty() => value.parse().map(Some).map_err(|error| ConfigError::malformed(name, error)),
        Ok(_) | Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(ConfigError::malformed(name, "not Unicode")),
    }
}

/// Reads a variable that names one of `choices`, if it is set.
///
/// # Errors
/// When it is set to something else.
pub fn choice<T: Copy>(name: &'static str, choices: &[(&str, T)]) -> Result<Option<T>, ConfigError> {
    let Some(text) = optional::<String>(name)? else {
        return Ok(None);
    };
    let known = choices.iter().find(|(choice, _)| *choice == text);
    known.map(|(_, value)| Some(*value)).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(choice, _)| *choice).collect();
        let problem = format!("{text:?} is not one of: {}", names.join(", "));
        ConfigError::malformed(name, problem)
    })
}

/// Reads a secret that must be set.
///
/// # Errors
/// When it is missing, empty or not Unicode.
pub fn secret(name: &'static str) -> Result<SecretString, ConfigError> {
    required::<String>(name).map(SecretString::from)
}

/// Says what a deployment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A developer's machine.
    Local,
    /// Anybody's to try; holds nobody's data.
    Demo,
    /// A rehearsal of production.
    Staging,
    /// Real users.
    Production,
}

impl Stage {
    /// Reads `STAGE`.
    ///
    /// # Errors
    /// When it is missing or none of the stages.
    pub fn from_env() -> Result<Self, ConfigError> {
        const NAME: &str = "STAGE";
        let choices = [
            ("local", Self::Local),
            ("demo", Self::Demo),
            ("staging", Self::Staging),
            ("production", Self::Production),
        ];
        choice(NAME, &choices)?.ok_or_else(|| ConfigError::missing(NAME))
    }
}

impl DailyLimits {
    /// Reads the limits of messages, `BASIC_DAILY_MESSAGES` (by default 5) and `PRO_DAILY_MESSAGES` (1 000), of tokens,
    /// `BASIC_DAILY_TOKENS` (250 000) and `PRO_DAILY_TOKENS` (2 500 000), and of posts for each message of the limit,
    /// `DAILY_POSTS_PER_MESSAGE` (3).
    ///
    /// # Errors
    /// When one is not a number.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            messages: Each {
                basic: or_default("BASIC_DAILY_MESSAGES", 5)?,
                pro: or_default("PRO_DAILY_MESSAGES", 1_000)?,
            },
            tokens: Each {
                basic: or_default("BASIC_DAILY_TOKENS", 250_000)?,
                pro: or_default("PRO_DAILY_TOKENS", 2_500_000)?,
            },
            posts_per_message: or_default("DAILY_POSTS_PER_MESSAGE", 3)?,
        })
    }
}
