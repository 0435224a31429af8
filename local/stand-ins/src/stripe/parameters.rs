//! Reads the parameters of a request, as Stripe takes them: `line_items[0][price]=price_1&mode=subscription`.

use reqwest::Url;
use serde_json::{Map, Value};

use super::failure::Failure;

/// The parameters of one request, in their order.
#[derive(Debug, Default)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads a query, or a body of a form.
    pub fn parse(encoded: &str) -> Self {
        let mut url = Url::parse("form:/").ok();
        if let Some(url) = &mut url {
            url.set_query(Some(encoded));
        }
        let pairs = url.iter().flat_map(Url::query_pairs);
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// Returns a parameter, unless it is absent or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(candidate, _)| candidate == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Returns a parameter that must be there.
    pub fn required(&self, name: &str) -> Result<&str, Failure> {
        self.get(name).ok_or_else(|| {
            Failure::invalid(name, &format!("Missing required param: {name}.")).code("parameter_missing")
        })
    }

    /// Reads a boolean.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Failure> {
        match self.get(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(Failure::invalid(name, &format!("Invalid boolean: {other}"))),
        }
    }

    /// Tells whether a time is within `created`, `created[gt]` and so on.
    pub fn created(&self, at: i64) -> Result<bool, Failure> {
        let bound = |name: &str, default: i64| match self.get(name).map(str::parse) {
            None => Ok(default),
            Some(bound) => bound.map_err(|_| Failure::invalid(name, "Invalid integer")),
        };
        Ok(at == bound("created", at)?
            && at > bound("created[gt]", i64::MIN)?
            && at >= bound("created[gte]", i64::MIN)?
            && at < bound("created[lt]", i64::MAX)?
            && at <= bound("created[lte]", i64::MAX)?)
    }

    /// Reads the length of a page.
    pub fn limit(&self) -> Result<usize, Failure> {
        match self.get("limit").map_or(Ok(10), str::parse) {
            Ok(limit) if (1..=100).contains(&limit) => Ok(limit),
            _ => Err(Failure::invalid("limit", "This value must be between 1 and 100.")),
        }
    }

    /// Reads the members given as `metadata[…]`, below `prefix`.
    pub fn metadata(&self, prefix: &str) -> Value {
        let prefix = format!("{prefix}[");
        let entries = self.0.iter().filter_map(|(name, value)| {
            let key = name.strip_prefix(&prefix)?.strip_suffix(']')?;
            Some((key.to_owned(), Value::from(value.as_str())))
        });
        Value::Object(entries.collect::<Map<_, _>>())
    }

    /// Refuses unknown parameters of a list, which also takes those of its page.
    pub fn only_in_list(&self, filters: &[&str]) -> Result<(), Failure> {
        let page = ["created", "ending_before", "expand", "limit", "starting_after"];
        self.only(&[filters, &page].concat())
    }

    /// Returns the values of a parameter that is given several times, as `types[0]` or as `types[]`.
    pub fn several(&self, name: &str) -> Vec<&str> {
        let given = self
            .0
            .iter()
            .filter(|(candidate, _)| candidate.strip_prefix(name).is_some_and(|rest| rest.starts_with('[')));
        given.map(|(_, value)| value.as_str()).collect()
    }

    /// Refuses parameters that are not in `known`, as Stripe does; a name also stands for its members.
    pub fn only(&self, known: &[&str]) -> Result<(), Failure> {
        for (name, _) in &self.0 {
            let is_known = known
                .iter()
                .any(|known| name.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('[')));
            if !is_known {
                let message = format!("Received unknown parameter: {name} (the stand-in knows {})", known.join(", "));
                return Err(Failure::invalid(name, &message).code("parameter_unknown"));
            }
        }
        Ok(())
    }

    /// Returns the names of the members to expand.
    pub fn expand(&self) -> impl Iterator<Item = &str> {
        let expand = self.0.iter().filter(|(name, _)| name.starts_with("expand["));
        expand.map(|(_, value)| value.as_str())
    }

    /// Returns the same text for the same parameters in any order.
    pub fn fingerprint(&self) -> Vec<(String, String)> {
        let mut pairs = self.0.clone();
        pairs.sort();
        pairs
    }
}
