//! Makes up the settings of the functions that neither the caller's environment nor a test gives.

use std::{collections::BTreeMap, env, fmt::Write as _};

use anyhow::{Result, anyhow};
use clap::ValueEnum;
use local_stand_ins::stripe::RETURN_URL;

use crate::{keys::Keys, machine::ports::Ports};

/// `STRIPE_SECRET_KEY` for the stand-in. Any other one is the caller's, for the real Stripe.
pub const STAND_IN_STRIPE_KEY: &str = "sk_test_local";

/// Environment variables by name.
pub type Variables = BTreeMap<String, String>;

/// What carries wake-ups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Queue {
    /// An SQS queue, polled by its mapping.
    #[default]
    Sqs,
    /// Redis, drained by a scheduled function.
    Redis,
}

/// What carries codes, limits and caches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// A `DynamoDB` table.
    #[default]
    Dynamodb,
    /// Redis.
    Redis,
}

/// How one system differs from another.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `QUEUE`.
    pub queue: Queue,
    /// `STATE`.
    pub state: State,
    /// Whether the functions' release builds run.
    pub release: bool,
    /// Whether the functions ask the real Gemini, with the caller's `GEMINI_API_KEY`.
    pub real_gemini: bool,
    /// Whether the functions ask the real Stripe, with the caller's `STRIPE_SECRET_KEY` and what belongs to it.
    pub real_stripe: bool,
    /// Which functions there are, if not all.
    pub functions: Option<&'static [&'static str]>,
    /// How many environments each function may have, if not as few as one person needs.
    pub environments: Option<usize>,
    /// Which ports the parts take.
    pub ports: Ports,
    /// Variables of the functions that the environment does not override.
    pub overrides: Variables,
}

impl Default for Settings {
    /// Takes the kinds that `QUEUE` and `STATE` name, if they do: `cargo local --queue redis --state redis test` sets
    /// them.
    fn default() -> Self {
        Self {
            queue: named("QUEUE"),
            state: named("STATE"),
            release: false,
            real_gemini: false,
            real_stripe: false,
            functions: None,
            environments: None,
            ports: Ports::default(),
            overrides: Variables::default(),
        }
    }
}

fn named<T: ValueEnum + Default>(variable: &str) -> T {
    let name = env::var(variable).unwrap_or_default();
    T::from_str(&name, false).unwrap_or_default()
}

impl Settings {
    /// Sets a variable of the functions that the environment does not override.
    #[expect(clippy::needless_pass_by_value, reason = "callers give literals")]
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.overrides.insert(name.to_owned(), value.to_string());
        self
    }

    /// Merges the functions' variables: defaults, then the environment, then those of this system alone, then those
    /// that [`Settings::with`] set.
    pub fn variables(&self, own: Variables) -> Result<Variables> {
        let mut variables = defaults()?;
        for (name, value) in &mut variables {
            if let Ok(set) = env::var(name) {
                *value = set;
            }
        }
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.map(|value| value.get_name().to_owned()).unwrap_or_default()
        };
        variables.insert("QUEUE".into(), name(self.queue.to_possible_value()));
        variables.insert("STATE".into(), name(self.state.to_possible_value()));
        variables.extend(own);
        variables.extend(self.overrides.clone());
        Ok(variables)
    }
}

/// Limits for everybody at one address, or for everybody. On one machine, all users have the same address.
const LIMITS: [&str; 5] = [
    "OTP_CODES_PER_ADDRESS_HOUR",
    "OTP_CODES_PER_COUNTRY_HOUR",
    "OTP_CODES_PER_HOUR",
    "OTP_GUESSES_PER_ADDRESS_HOUR",
    "REFUSED_REFRESHES_PER_ADDRESS_HOUR",
];

/// The stack of the sample events.
const STACK_ID: &str =
    "arn:aws:cloudformation:eu-central-1:123456789012:stack/chat/16580499-7622-4a9c-b32f-4eba35da93da";

/// Makes settings for one machine, with fresh secrets.
fn defaults() -> Result<Variables> {
    let keys = Keys::generate()?;
    let limits = LIMITS.map(|name| (name, 1_000_000.to_string()));
    let defaults = [
        ("STAGE", "local".to_owned()),
        ("STACK_ID", STACK_ID.to_owned()),
        ("SECRET_NAME", "chat".to_owned()),
        ("JWT_PRIVATE_KEY", keys.private),
        ("JWT_PUBLIC_KEYS", keys.public),
        ("OTP_PEPPER", random_hex()?),
        ("OTP_DELIVERY", "response".to_owned()),
        ("GEMINI_API_KEY", "local".to_owned()),
        ("STRIPE_SECRET_KEY", STAND_IN_STRIPE_KEY.to_owned()),
        ("STRIPE_WEBHOOK_SECRET", format!("whsec_{}", random_hex()?)),
        ("STRIPE_PRO_PRICE_ID", "price_pro".to_owned()),
        ("CHECKOUT_SUCCESS_URL", RETURN_URL.to_owned()),
        ("CHECKOUT_CANCEL_URL", RETURN_URL.to_owned()),
    ];
    let all = defaults.into_iter().chain(limits);
    Ok(all.map(|(name, value)| (name.to_owned(), value)).collect())
}

fn random_hex() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("no random numbers: {error}"))?;
    Ok(bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // writing to a string does not fail
        hex
    }))
}

/// Writes a file that `cargo lambda watch --env-file` and a shell read alike.
pub fn environment_file(variables: &Variables) -> String {
    variables.iter().fold(String::new(), |mut file, (name, value)| {
        let _ = writeln!(file, "{name}='{value}'");
        file
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_for_one_system_wins_over_its_own_and_over_the_defaults() {
        let own = Variables::from([("STAGE".into(), "own".into()), ("QUEUE_URL".into(), "own".into())]);
        let settings = Settings { queue: Queue::Redis, ..Settings::default() };
        let variables = settings.with("QUEUE_URL", "set").variables(own).unwrap();
        assert_eq!(variables["QUEUE_URL"], "set");
        assert_eq!(variables["STAGE"], "own");
        assert_eq!(variables["QUEUE"], "redis");
        assert_eq!(variables["STATE"], "dynamodb");
        assert_eq!(variables["OTP_PEPPER"].len(), 64);
    }
}
