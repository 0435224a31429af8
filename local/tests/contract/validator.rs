//! Holds a real response to `openapi.yaml`.
//!
//! The schemas of answers are closed, so a field, header or status that the contract does not name is as much a breach
//! as one that is missing. Whoever sends requests in a test passes every response through [`Contract::check`].

use std::{fmt::Write, fs, path::Path};

use jsonschema::Validator;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::Value;

/// The contract, as it stands in the repository.
pub struct Contract {
    /// `openapi.yaml`.
    pub document: Value,
}

impl Contract {
    /// Reads `openapi.yaml`.
    pub fn load() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../openapi.yaml");
        let text = fs::read_to_string(path).expect("openapi.yaml can be read");
        Self {
            document: serde_saphyr::from_str(&text).expect("openapi.yaml is YAML"),
        }
    }

    /// Panics, with everything that is wrong, unless the contract allows this response to a request.
    pub fn check(&self, method: &str, path: &str, status: u16, headers: &HeaderMap, body: &[u8]) {
        let breaches = match self.response(method, path, status) {
            Ok(response) => self.breaches(response, headers, body),
            Err(breach) => vec![breach],
        };
        assert!(
            breaches.is_empty(),
            "{method} {path} answered what openapi.yaml does not allow:{}\nstatus: {status}\nheaders: {headers:#?}\nbody: {}",
            list(&breaches),
            String::from_utf8_lossy(body),
        );
    }

    fn response(&self, method: &str, path: &str, status: u16) -> Result<&Value, String> {
        let path = path.split('?').next().unwrap_or_default();
        let (_, item) = members(&self.document["paths"])
            .find(|(template, _)| matches(template, path))
            .ok_or_else(|| format!("there is no path {path}"))?;
        let operation = item
            .get(method.to_lowercase())
            .ok_or_else(|| format!("there is no {method} {path}"))?;
        let response = operation["responses"]
            .get(status.to_string())
            .ok_or_else(|| format!("the operation has no status {status}"))?;
        Ok(self.resolve(response))
    }

    fn breaches(&self, response: &Value, headers: &HeaderMap, body: &[u8]) -> Vec<String> {
        let mut breaches = self.header_breaches(response, headers);
        let media_type = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
        let media_type = media_type
            .and_then(|it| it.split(';').next())
            .map(str::trim);
        match (response.get("content"), media_type) {
            (None, _) if body.is_empty() => {}
            (None, _) => breaches.push("there must be no body".into()),
            (Some(_), None) => breaches.push("there is no Content-Type".into()),
            (Some(content), Some(media_type)) => match content.get(media_type) {
                None => breaches.push(format!("the Content-Type is {media_type}")),
                Some(media) => match serde_json::from_slice(body) {
                    Ok(value) => breaches.extend(self.errors(&media["schema"], &value)),
                    Err(error) => breaches.push(format!("the body is not JSON: {error}")),
                },
            },
        }
        breaches
    }

    /// Every header that the contract knows is absent where it is not documented and right where it is.
    fn header_breaches(&self, response: &Value, headers: &HeaderMap) -> Vec<String> {
        let mut breaches = Vec::new();
        for (name, header) in members(&response["headers"]) {
            let header = self.resolve(header);
            let Some(value) = headers.get(name) else {
                breaches.push(format!("the header {name} is missing"));
                continue;
            };
            let value = typed(
                &header["schema"],
                &String::from_utf8_lossy(value.as_bytes()),
            );
            let errors = self.errors(&header["schema"], &value);
            breaches.extend(errors.into_iter().map(|error| format!("{name}: {error}")));
        }
        let known = members(&self.document["components"]["headers"]).map(|(name, _)| name.as_str());
        for name in known.chain(["Location"]) {
            if headers.contains_key(name) && response["headers"].get(name).is_none() {
                breaches.push(format!("the header {name} is not documented here"));
            }
        }
        breaches
    }

    /// What of `value` breaks `schema`, a schema of the contract.
    pub fn errors(&self, schema: &Value, value: &Value) -> Vec<String> {
        let validator = self.validator(schema);
        let errors = validator.iter_errors(value);
        errors
            .map(|error| format!("{} {error}", error.instance_path()))
            .collect()
    }

    fn validator(&self, schema: &Value) -> Validator {
        let mut schema = schema.clone();
        // What `#/components/…` refers to.
        schema["components"] = self.document["components"].clone();
        jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
            .expect("it is a JSON Schema")
    }

    /// What `value` refers to, if it is a reference into the contract, or else itself.
    pub fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let Some(reference) = value.get("$ref").and_then(Value::as_str) else {
            return value;
        };
        let target = reference.strip_prefix('#');
        target
            .and_then(|pointer| self.document.pointer(pointer))
            .unwrap_or_else(|| panic!("{reference} refers to nothing"))
    }
}

/// Whether `path` is one of the paths that `template` stands for.
pub fn matches(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template
            .zip(path)
            .all(|(expected, found)| expected.starts_with('{') || expected == found)
}

/// A header or query value as the type its schema asks for.
pub fn typed(schema: &Value, text: &str) -> Value {
    match schema["type"].as_str() {
        Some("integer") => text.parse::<i64>().map_or(Value::from(text), Value::from),
        _ => Value::from(text),
    }
}

/// The members of an object, or none.
pub fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn list(breaches: &[String]) -> String {
    breaches.iter().fold(String::new(), |mut list, breach| {
        let _ = write!(list, "\n- {breach}");
        list
    })
}
