//! Holds every response that tests get to the contract, `openapi.yaml`.
//!
//! Its schemas are closed, so a field, header or status that it does not name is as much a breach as one that is
//! missing.

use std::{
    collections::HashMap,
    fs,
    sync::{Arc, LazyLock, Mutex},
};

use anyhow::{Context, Result};
use jsonschema::Validator;
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderMap},
};
use serde_json::{Value, json};

use super::{Response, must};
use local_stack::machine::{lock, workspace::root};

/// The contract.
#[derive(Debug)]
pub struct Contract {
    /// All of `openapi.yaml`.
    pub document: Value,
    /// By the text of their schemas.
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

/// The repository's contract, read once.
pub static CONTRACT: LazyLock<Contract> = LazyLock::new(|| must(Contract::load(), "no contract"));

/// An operation of the contract.
pub struct Operation {
    /// Its method.
    pub method: Method,
    /// Its path, with parameters in braces.
    pub path: &'static str,
    /// The function that it leads to.
    pub function: &'static str,
    /// What the contract says of it.
    pub content: &'static Value,
}

/// Lists the operations of the contract.
pub fn operations() -> impl Iterator<Item = Operation> {
    members(&CONTRACT.document["paths"]).flat_map(|(path, item)| {
        let operations = members(item).filter(|(_, content)| content.get("operationId").is_some());
        operations.map(move |(method, content)| Operation {
            method: must(method.to_uppercase().parse(), path),
            path,
            function: function(content),
            content,
        })
    })
}

/// Holds a response to the contract; see [`Contract::check`].
pub fn check(method: &Method, path: &str, response: &Response) {
    CONTRACT.check(method.as_str(), path, response);
}

impl Contract {
    fn load() -> Result<Self> {
        let path = root().join("openapi.yaml");
        let text = fs::read_to_string(&path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        let document = serde_saphyr::from_str(&text);
        Ok(Self {
            document: document.with_context(|| format!("{} is not YAML", path.display()))?,
            validators: Mutex::default(),
        })
    }

    /// Holds a response to the contract, and panics with every breach when the contract does not allow it.
    #[track_caller]
    pub fn check(&self, method: &str, path: &str, response: &Response) {
        let breaches = match self.response(method, path, response.status) {
            Ok(documented) => self.breaches(documented, response),
            Err(breach) => vec![breach],
        };
        let body: String = String::from_utf8_lossy(&response.bytes).chars().take(2_000).collect();
        assert!(
            breaches.is_empty(),
            "{method} {path} answered what openapi.yaml does not allow:\n- {}\n\
             status: {}\nheaders: {:#?}\nbody: {body}",
            breaches.join("\n- "),
            response.status,
            response.headers,
        );
    }

    /// Holds the data of an event of a stream to the contract, and panics when the contract does not allow it.
    #[track_caller]
    pub fn check_event(&self, data: &Value) {
        let schema = json!({ "$ref": "#/components/schemas/StreamEvent" });
        let breaches = self.errors(&schema, data);
        assert!(breaches.is_empty(), "an event that openapi.yaml does not allow:\n- {}\n{data}", breaches.join("\n- "));
    }

    fn response(&self, method: &str, path: &str, status: u16) -> Result<&Value, String> {
        let (_, item) = members(&self.document["paths"])
            .find(|(template, _)| matches(template, path))
            .ok_or_else(|| format!("there is no path {path}"))?;
        let operation = item.get(method.to_lowercase()).ok_or_else(|| format!("there is no {method} {path}"))?;
        let response = operation["responses"]
            .get(status.to_string())
            .ok_or_else(|| format!("the operation has no status {status}"))?;
        Ok(self.resolve(response))
    }

    fn breaches(&self, documented: &Value, response: &Response) -> Vec<String> {
        let Response { headers, bytes, .. } = response;
        let mut breaches = self.header_breaches(documented, headers);
        let Some(content) = documented.get("content") else {
            if !bytes.is_empty() {
                breaches.push("there must be no body".into());
            }
            return breaches;
        };
        let media_type = headers.get(CONTENT_TYPE).map_or("", |value| {
            let value = value.to_str().unwrap_or_default();
            value.split(';').next().unwrap_or_default().trim()
        });
        match content.get(media_type) {
            None => breaches.push(format!("the Content-Type is {media_type:?}")),
            Some(media) if media_type == "text/event-stream" => {
                let text = String::from_utf8_lossy(bytes);
                let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
                for data in data.filter(|data| *data != "[DONE]") {
                    match serde_json::from_str(data) {
                        Ok(data) => breaches.extend(self.errors(&media["schema"], &data)),
                        Err(error) => breaches.push(format!("an event is not JSON: {error}")),
                    }
                }
            }
            Some(media) if !media_type.ends_with("json") => {
                let text = String::from_utf8_lossy(bytes).into();
                breaches.extend(self.errors(&media["schema"], &text));
            }
            Some(media) => match serde_json::from_slice(bytes) {
                Ok(value) => breaches.extend(self.errors(&media["schema"], &value)),
                Err(error) => breaches.push(format!("the body is not JSON: {error}")),
            },
        }
        breaches
    }

    /// Checks that every header that the contract knows is right where it is documented, and absent elsewhere.
    fn header_breaches(&self, response: &Value, headers: &HeaderMap) -> Vec<String> {
        let mut breaches = Vec::new();
        for (name, header) in members(&response["headers"]) {
            let header = self.resolve(header);
            let schema = &header["schema"];
            let Some(value) = headers.get(name) else {
                if header["required"] == true {
                    breaches.push(format!("the header {name} is missing"));
                }
                continue;
            };
            let value = typed(schema, &String::from_utf8_lossy(value.as_bytes()));
            let errors = self.errors(schema, &value).into_iter();
            breaches.extend(errors.map(|error| format!("{name}: {error}")));
        }
        let known = members(&self.document["components"]["headers"]).map(|(name, _)| name.as_str());
        for name in known.chain(["Location"]) {
            if headers.contains_key(name) && response["headers"].get(name).is_none() {
                breaches.push(format!("the header {name} is not documented here"));
            }
        }
        breaches
    }

    /// Lists the parts of `value` that break `schema`, a schema of the contract.
    pub fn errors(&self, schema: &Value, value: &Value) -> Vec<String> {
        match self.validator(schema) {
            Ok(validator) => {
                let errors = validator.iter_errors(value);
                errors.map(|error| format!("{} {}", error.instance_path(), error.masked())).collect()
            }
            Err(error) => vec![format!("the schema is wrong: {error}")],
        }
    }

    /// Compiling takes longer than validating, and there are few schemas.
    fn validator(&self, schema: &Value) -> Result<Arc<Validator>, String> {
        let mut validators = lock(&self.validators);
        let text = schema.to_string();
        if let Some(validator) = validators.get(&text) {
            return Ok(validator.clone());
        }
        let mut schema = schema.clone();
        schema["components"] = self.document["components"].clone(); // what its references refer to
        let options = jsonschema::options().should_validate_formats(true);
        let validator = Arc::new(options.build(&schema).map_err(|error| error.to_string())?);
        validators.insert(text, validator.clone());
        Ok(validator)
    }

    /// Follows a reference into the contract, and returns any other value as it is. Null, if it refers to nothing.
    pub fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => {
                let pointer = reference.trim_start_matches('#');
                self.document.pointer(pointer).unwrap_or(&Value::Null)
            }
            None => value,
        }
    }
}

/// The function that an operation leads to. Its id, unless the function has more than one operation.
fn function(operation: &Value) -> &str {
    let function = operation.get("x-function");
    let function = function.unwrap_or(&operation["operationId"]).as_str();
    function.unwrap_or_else(|| panic!("an operation has no id: {operation}"))
}

/// Matches a path with a template of paths.
pub fn matches(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template.zip(path).all(|(expected, found)| expected.starts_with('{') || expected == found)
}

/// Reads a header, path or query value as the type that its schema asks for.
pub fn typed(schema: &Value, text: &str) -> Value {
    match schema["type"].as_str() {
        Some("integer") => text.parse::<i64>().map_or(Value::from(text), Value::from),
        _ => Value::from(text),
    }
}

/// Returns the members of an object, or none.
pub fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}
