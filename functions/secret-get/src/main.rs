//! Hands the members of the stack's secret to the template, as the attributes of a custom resource.
//!
//! Each function takes only those it uses, by `!GetAtt Secret.NAME`. Dynamic references would do the same, but
//! CloudFormation allows 60 in a template, and each new function would bring some. The response is marked `NoEcho`, so
//! no stack, change set or output shows a value; nothing of the secret is logged or returned to the invoker. Whoever
//! invokes it with an event of his own making gets nothing: the response goes to CloudFormation, for this stack, and
//! the secret is the one that the environment names.
//!
//! The secret is read when the resource is created, and when its name, its version or the members asked for change.

use lambda_runtime::{Error, LambdaEvent};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use shared::{
    cloudformation::{Attributes, CloudFormation, Request},
    config::{self, ConfigError},
    secrets::{LONGEST_MEMBER, Secrets},
    telemetry::Chain,
};
use tracing::{error, info};

/// The name under which CloudFormation knows the resource. Another one would make it delete the old.
const RESOURCE: &str = "secret";

struct App {
    cloudformation: CloudFormation,
    secrets: Secrets,
    secret_name: String,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            cloudformation: CloudFormation::from_env()?,
            secrets: Secrets::from_env()?,
            secret_name: config::required("SECRET_NAME")?,
        })
    }
}

/// The properties of the resource.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Properties {
    /// The one that the environment names. It is here so that CloudFormation asks again when it changes.
    secret_name: String,
    /// Empty for the current one.
    #[serde(default)]
    secret_version: String,
    /// Members that the secret must have.
    names: Vec<String>,
    /// Members that it may have. A missing one becomes an empty attribute.
    #[serde(default)]
    optional_names: Vec<String>,
}

async fn get(app: &App, event: LambdaEvent<Request>) -> Result<Value, Error> {
    let step = app.cloudformation.accept(event.payload)?;
    let outcome = match &step.properties {
        Some(properties) => app.attributes(properties).await,
        None => Ok(Attributes::new()), // the stack is removed
    };
    match &outcome {
        Ok(attributes) => info!(attributes = attributes.len(), "the secret was read"),
        Err(reason) => error!(error = reason, "the secret was not read"),
    }
    step.respond(RESOURCE, outcome).await?;
    Ok(json!({}))
}

impl App {
    async fn attributes(&self, properties: &Value) -> Result<Attributes, String> {
        let properties = Properties::deserialize(properties).map_err(|error| error.to_string())?;
        if properties.secret_name != self.secret_name {
            return Err("the stack has another secret".into());
        }
        let version = Some(properties.secret_version.as_str()).filter(|it| !it.is_empty());
        let secret = self.secrets.read(&self.secret_name, version).await;
        let secret = secret.map_err(|error| Chain(&*error).to_string())?;
        select(&properties, secret.expose_secret())
    }
}

/// Picks the members asked for. The reason for a failure never quotes the secret: everybody who may see the stack sees
/// the reason.
fn select(properties: &Properties, secret: &str) -> Result<Attributes, String> {
    let name = &properties.secret_name;
    let members: Map<String, Value> =
        serde_json::from_str(secret).map_err(|_| format!("the secret {name} is no JSON object"))?;
    let mut attributes = Attributes::new();
    for member in &properties.names {
        let value = members.get(member).and_then(Value::as_str);
        let value = value.filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| format!("the secret {name} has no string {member}"))?;
        attributes.insert(member.clone(), value.into());
    }
    for member in &properties.optional_names {
        let value = members.get(member).and_then(Value::as_str);
        attributes.insert(member.clone(), value.unwrap_or_default().into());
    }
    for (member, value) in &attributes {
        let length = value.as_str().map_or(0, str::len);
        if length > LONGEST_MEMBER {
            return Err(format!("{member} in the secret {name} has {length} bytes; {LONGEST_MEMBER} have room"));
        }
    }
    Ok(attributes)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shared::run(App::from_env, get).await
}

#[cfg(test)]
mod tests {
    //! Tests that only the members asked for are returned, and that no failure quotes the secret.

    use super::*;

    fn selected(secret: &str) -> Result<Attributes, String> {
        let properties = json!({
            "ServiceToken": "arn:aws:lambda:eu-central-1:123456789012:function:secret-get",
            "SecretName": "chat",
            "SecretVersion": "",
            "Names": ["A", "B"],
            "OptionalNames": ["C"],
        });
        select(&serde_json::from_value(properties).unwrap(), secret)
    }

    #[test]
    fn nothing_but_the_members_asked_for_is_given() {
        let attributes = selected(r#"{"A": "1", "B": "2", "D": "4"}"#).unwrap();
        assert_eq!(json!(attributes), json!({ "A": "1", "B": "2", "C": "" }));
        let attributes = selected(r#"{"A": "1", "B": "2", "C": "3"}"#).unwrap();
        assert_eq!(attributes["C"], "3");
    }

    #[tokio::test]
    async fn another_secret_than_the_environments_is_not_read() {
        let app = App { secret_name: "chat".into(), ..App::from_env().unwrap() };
        let properties = json!({ "SecretName": "payroll", "Names": ["A"] });
        assert_eq!(app.attributes(&properties).await.unwrap_err(), "the stack has another secret");
    }

    #[test]
    fn a_member_that_is_missing_is_named() {
        for secret in [r#"{"A": "s3cret"}"#, r#"{"A": "s3cret", "B": ""}"#, r#"{"A": "s3cret", "B": 7}"#] {
            let reason = selected(secret).unwrap_err();
            assert_eq!(reason, "the secret chat has no string B");
        }
    }

    #[test]
    fn a_member_without_room_stops_the_deploy_before_its_functions_change() {
        let secret = |length| json!({ "A": "s", "B": "s3cret", "C": "s".repeat(length) }).to_string();
        assert!(selected(&secret(LONGEST_MEMBER)).is_ok());
        let reason = selected(&secret(LONGEST_MEMBER + 1)).unwrap_err();
        assert_eq!(reason, "C in the secret chat has 257 bytes; 256 have room");
    }

    #[test]
    fn a_secret_that_cannot_be_read_is_not_quoted() {
        for secret in [r#""s3cret""#, "s3cret", r#"{"A": s3cret}"#, r#"["s3cret"]"#] {
            let reason = selected(secret).unwrap_err();
            assert!(!reason.contains("s3cret"), "{reason}");
        }
    }
}
