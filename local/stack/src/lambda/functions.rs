//! What the local stack knows of each function: its timeout, trigger and variables from `template.yaml`, and in one
//! table what the template does not say.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::settings::Queue;

/// The facts that the template does not say, for each function that differs from [`USUAL`].
const FACTS: [(&str, Facts); 20] = [
    // A request for a code is looked up (whether the number signed in from there) and counted: for the number with the
    // address (for half a minute, and for an hour), for each of the two alone, for the country and for all. The code is
    // stored.
    ("auth-signup", USUAL.state_calls(8)),
    ("auth-send-otp", USUAL.state_calls(8)),
    ("auth-forgot-password", USUAL.state_calls(8)),
    // A code is read, counted (for the address, the code, the number with the address, the number, and in a row) and
    // removed. What was right is given back, ends both rows, and is remembered. Setting a password ends two rows more.
    ("auth-verify-otp", USUAL.state_calls(11).statements(2)),
    ("auth-reset-password", USUAL.state_calls(13)),
    // A password is looked up and counted (for the number with the address, the address, the number, and in a row)
    // before it is compared between two statements. What was right is given back, ends both rows, and is remembered.
    ("auth-login", USUAL.state_calls(11).statements(3)),
    // In a session nothing is looked up.
    ("auth-change-password", USUAL.state_calls(10).statements(2)),
    ("chatroom-list", USUAL.cpu_ms(0.5)),
    // A long poll occupies its environment.
    ("message-get", USUAL.environments(16)),
    ("message-send", USUAL.environments(4).cpu_ms(0.8)),
    // It claims and settles.
    ("message-answer", USUAL.environments(4).statements(2)),
    ("message-drain", USUAL.environments(1).pause_ms(500)),
    // An open stream occupies its environment. It takes a slot, posts, claims, settles and gives the slot back.
    ("message-stream", USUAL.environments(128).statements(5)),
    // It looks for rooms and for failing users, tidies up, and removes what was deleted.
    ("message-sweep", USUAL.pause_ms(5_000).statements(4)),
    // Stripe is asked between two statements.
    ("stripe-webhook", USUAL.statements(2)),
    ("subscription-checkout", USUAL.statements(2).state_calls(1)),
    ("subscription-portal", USUAL.state_calls(1)),
    // It forgets old events, looks, and stores what Stripe says: in the benchmark of two customers.
    ("subscription-sync", USUAL.statements(4)),
    // Its proof is a password.
    ("user-delete", USUAL.state_calls(10).statements(2)),
    ("user-get", USUAL.cpu_ms(0.3)),
];

/// The facts about most functions.
const USUAL: Facts =
    Facts { environments: 2, pause: Duration::from_secs(10), statements: 1, state_calls: 0, cpu_ms: None };

/// Facts about a function that the template does not say.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// How many execution environments serve it at once.
    pub environments: usize,
    /// How long its schedule pauses. A minute or an hour on AWS is too long here, where people watch.
    pub pause: Duration,
    /// How many SQL statements its documentation allows a warm request.
    pub statements: u32,
    /// How many calls of the state store a warm request may make.
    pub state_calls: u32,
    /// How many milliseconds of processor time a warm request may take, for the functions that are asked most.
    pub cpu_ms: Option<f64>,
}

impl Facts {
    const fn environments(self, environments: usize) -> Self {
        Self { environments, ..self }
    }

    const fn pause_ms(self, milliseconds: u64) -> Self {
        Self { pause: Duration::from_millis(milliseconds), ..self }
    }

    const fn statements(self, statements: u32) -> Self {
        Self { statements, ..self }
    }

    const fn state_calls(self, state_calls: u32) -> Self {
        Self { state_calls, ..self }
    }

    const fn cpu_ms(self, milliseconds: f64) -> Self {
        Self { cpu_ms: Some(milliseconds), ..self }
    }

    fn of(function: &str) -> Self {
        let facts = FACTS.iter().find(|(name, _)| *name == function);
        facts.map_or(USUAL, |(_, facts)| *facts)
    }
}

/// What calls a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// A request to its route.
    Request,
    /// A request to its own address, through which it streams.
    Address,
    /// The queue's event source mapping.
    Queue,
    /// A schedule.
    Schedule,
    /// A custom resource of the stack, when it is deployed.
    Deploy,
}

/// A function.
#[derive(Debug, Clone)]
pub struct Function {
    /// How long one invocation may take.
    pub timeout: Duration,
    /// Its memory in megabytes.
    pub memory_mb: u64,
    /// What calls it.
    pub trigger: Trigger,
    /// The names of its variables.
    pub variables: BTreeSet<String>,
    /// What else is known.
    pub facts: Facts,
    queue: Option<Queue>,
}

impl Function {
    /// Tells whether the stack has it with this kind of queue.
    pub fn exists_with(&self, queue: Queue) -> bool {
        self.queue.is_none_or(|only| only == queue)
    }

    fn read(name: &str, resource: &Value, globals: &Value) -> Option<Self> {
        let properties = &resource["Properties"];
        let number = |property| {
            let own = properties.get(property).unwrap_or(&globals[property]);
            own.as_u64()
        };
        let trigger = match properties["Events"].as_object() {
            None if properties.get("FunctionUrlConfig").is_some() => Trigger::Address,
            None => Trigger::Deploy,
            Some(events) => match events.values().next()?["Type"].as_str()? {
                "SQS" => Trigger::Queue,
                "Schedule" => Trigger::Schedule,
                _ => Trigger::Request,
            },
        };
        let variables = |of: &Value| of["Environment"]["Variables"].as_object().cloned();
        let variables = [variables(globals), variables(properties)];
        let names = variables.into_iter().flatten().flat_map(|map| map.into_iter().map(|(name, _)| name));
        Some(Self {
            timeout: Duration::from_secs(number("Timeout")?),
            memory_mb: number("MemorySize")?,
            trigger,
            variables: names.collect(),
            facts: Facts::of(name),
            queue: match resource["Condition"].as_str() {
                Some("UsesSqs") => Some(Queue::Sqs),
                Some("QueuesInRedis") => Some(Queue::Redis),
                _ => None,
            },
        })
    }
}

/// Every function of `template.yaml`, by name.
#[derive(Debug, Clone)]
pub struct Catalogue(BTreeMap<String, Function>);

impl Catalogue {
    /// Reads the template of a checkout.
    pub fn read(root: &Path) -> Result<Self> {
        let path = root.join("template.yaml");
        let text = fs::read_to_string(&path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        let template: Value =
            serde_saphyr::from_str(&text).with_context(|| format!("{} is not YAML", path.display()))?;
        let globals = &template["Globals"]["Function"];
        let functions = resources(&template).into_iter().map(|(name, resource)| {
            let function = Function::read(&name, resource, globals);
            let function = function
                .with_context(|| format!("in template.yaml, {name} needs Timeout, MemorySize and a Type of event"))?;
            Ok((name, function))
        });
        functions.collect::<Result<_>>().map(Self)
    }

    /// Gives every function so many environments instead of the few that one person needs.
    #[must_use]
    pub fn with_environments(mut self, environments: usize) -> Self {
        for function in self.0.values_mut() {
            function.facts.environments = environments;
        }
        self
    }

    /// Forgets every function but these.
    #[must_use]
    pub fn with_only(mut self, functions: &[&str]) -> Self {
        self.0.retain(|name, _| functions.contains(&name.as_str()));
        self
    }

    /// Returns a function.
    pub fn get(&self, name: &str) -> Result<&Function> {
        let function = self.0.get(name);
        function.with_context(|| format!("template.yaml has no function {name}: add its resource"))
    }

    /// Iterates over the functions, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Function)> {
        self.0.iter().map(|(name, function)| (name.as_str(), function))
    }
}

/// Returns the resources of functions in a template, by the functions' names.
pub fn resources(template: &Value) -> BTreeMap<String, &Value> {
    let resources = template["Resources"].as_object().into_iter().flatten();
    let functions = resources.filter(|(_, it)| it["Type"] == "AWS::Serverless::Function");
    functions.map(|(name, resource)| (kebab(name.strip_suffix("Function").unwrap_or(name)), resource)).collect()
}

/// Writes `MessageSend` as `message-send`.
fn kebab(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push('-');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

/// Returns the function that answers messages with this kind of queue.
pub fn worker(queue: Queue) -> &'static str {
    match queue {
        Queue::Sqs => "message-answer",
        Queue::Redis => "message-drain",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_only_functions_that_the_template_has() {
        let catalogue = Catalogue::read(crate::machine::workspace::root()).unwrap();
        for (name, _) in FACTS {
            assert!(catalogue.get(name).is_ok(), "{name}");
        }
        for queue in [Queue::Sqs, Queue::Redis] {
            let worker = catalogue.get(worker(queue)).unwrap();
            assert!(worker.exists_with(queue) && worker.queue.is_some());
        }
    }

    #[test]
    fn a_functions_own_properties_go_before_the_global_ones() {
        let root = tempfile::tempdir().unwrap();
        let template = "
            Globals: { Function: { Timeout: 30, MemorySize: 128, Environment: { Variables: { STAGE: x } } } }
            Resources:
              Queue: { Type: AWS::SQS::Queue }
              ChatroomGetFunction:
                Type: AWS::Serverless::Function
                Properties: { Events: { Request: { Type: HttpApi } } }
              MessageAnswerFunction:
                Type: AWS::Serverless::Function
                Condition: UsesSqs
                Properties:
                  Timeout: 180
                  Environment: { Variables: { STRIPE_SECRET_KEY: !GetAtt Secret.STRIPE_SECRET_KEY } }
                  Events: { WakeUps: { Type: SQS } }
              MigrateFunction: { Type: AWS::Serverless::Function }";
        fs::write(root.path().join("template.yaml"), template).unwrap();
        let catalogue = Catalogue::read(root.path()).unwrap();
        let names: Vec<_> = catalogue.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["chatroom-get", "message-answer", "migrate"]);

        let get = catalogue.get("chatroom-get").unwrap();
        assert_eq!((get.timeout.as_secs(), get.trigger), (30, Trigger::Request));
        assert!(get.exists_with(Queue::Redis));
        let answer = catalogue.get("message-answer").unwrap();
        assert_eq!((answer.timeout.as_secs(), answer.trigger), (180, Trigger::Queue));
        assert!(!answer.exists_with(Queue::Redis) && answer.variables.contains("STRIPE_SECRET_KEY"));
        assert!(answer.variables.contains("STAGE"));
        assert_eq!(catalogue.get("migrate").unwrap().trigger, Trigger::Deploy);
        assert!(catalogue.get("user-get").is_err());
    }
}
