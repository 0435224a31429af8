//! CloudFormation's custom resources: a step of a deploy that a function takes.
//!
//! CloudFormation waits for the function's verdict at a presigned address, and hangs without one. So a function
//! [responds](Step::respond) whether its step succeeded or failed.
//!
//! Anybody who may invoke the function can make an event up, and a verdict may hold secrets. It is therefore sent to
//! CloudFormation's own bucket in this region and for this stack only. [`CloudFormation::accept`] checks that, and
//! nothing of an event can be used without it.
//!
//! Source: <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref.html>.

use std::time::Duration;

use aws_lambda_events::cloudformation::CloudFormationCustomResourceRequest;
use reqwest::Url;
use serde_json::{Map, Value, json};

use crate::{
    config::{self, ConfigError},
    error::Source,
    tls,
};

/// An event that asks for a step.
pub type Request = CloudFormationCustomResourceRequest<Value, Value>;

/// The values that a step gives to the rest of the template, by `Fn::GetAtt`.
pub type Attributes = Map<String, Value>;

/// Limits how long the verdict may take to be sent.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Limits a reason in characters, and the whole verdict in bytes.
const LONGEST_REASON: usize = 500;
const LONGEST_VERDICT: usize = 4_096;

/// CloudFormation as this stack knows it.
pub struct CloudFormation {
    stack_id: String,
    region: String,
    endpoint: Option<Url>,
}

/// Says why an event is not from CloudFormation for this stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// It has a type that CloudFormation does not send.
    #[error("the event has an unknown type")]
    Type,
    /// It names another stack.
    #[error("the event is for another stack")]
    Stack,
    /// It asks to send the verdict to somebody else.
    #[error("the event's ResponseURL is not CloudFormation's for this stack")]
    Address,
}

/// A step that CloudFormation asks for.
#[derive(Debug)]
pub struct Step {
    /// The properties to bring about, or none when the resource is to be removed.
    pub properties: Option<Value>,
    address: Url,
    stack_id: String,
    request_id: String,
    logical_id: String,
}

impl CloudFormation {
    /// Reads `STACK_ID`, and Lambda's variables for the region and the endpoint.
    ///
    /// # Errors
    /// When one is missing or malformed.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            stack_id: config::required("STACK_ID")?,
            region: config::required("AWS_REGION")?,
            endpoint: config::optional("AWS_ENDPOINT_URL")?,
        })
    }

    /// Accepts an event that CloudFormation sent for this stack.
    ///
    /// # Errors
    /// When it may be forged.
    pub fn accept(&self, request: Request) -> Result<Step, Forged> {
        let (address, step) = match request {
            Request::Create(it) => {
                (it.response_url, (it.stack_id, it.request_id, it.logical_resource_id, Some(it.resource_properties)))
            }
            Request::Update(it) => {
                (it.response_url, (it.stack_id, it.request_id, it.logical_resource_id, Some(it.resource_properties)))
            }
            Request::Delete(it) => (it.response_url, (it.stack_id, it.request_id, it.logical_resource_id, None)),
            _ => return Err(Forged::Type),
        };
        let (stack_id, request_id, logical_id, properties) = step;
        if stack_id != self.stack_id {
            return Err(Forged::Stack);
        }
        let address = Url::parse(&address).ok().filter(|address| self.owns(address)).ok_or(Forged::Address)?;
        Ok(Step { properties, address, stack_id, request_id, logical_id })
    }

    /// Returns whether an address is CloudFormation's, for this stack: an object in its bucket of the region, or any at
    /// `AWS_ENDPOINT_URL`.
    fn owns(&self, address: &Url) -> bool {
        if !address.username().is_empty() || address.password().is_some() {
            return false;
        }
        if let Some(endpoint) = &self.endpoint {
            return is_same_server(address, endpoint);
        }
        address.scheme() == "https"
            && address.port().is_none()
            && address.host_str().is_some_and(|host| is_bucket(host, &self.region))
            && names_stack(address.path(), &self.stack_id)
    }
}

/// Returns whether two addresses are of one server, which on this machine may have one name for itself and another one
/// for its callers.
fn is_same_server(one: &Url, other: &Url) -> bool {
    let server = |url: &Url| {
        let host = match url.host_str() {
            Some("localhost" | "127.0.0.1" | "[::1]") => "loopback",
            host => host.unwrap_or_default(),
        };
        (url.scheme().to_owned(), host.to_owned(), url.port_or_known_default())
    };
    server(one) == server(other)
}

/// Returns whether `host` is that of CloudFormation's bucket in a region, by any of S3's names for the region
/// (<https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/vpc-interface-endpoints.html>).
fn is_bucket(host: &str, region: &str) -> bool {
    let bucket = format!("cloudformation-custom-resource-response-{}.", region.replace('-', ""));
    let partition = match region.split('-').next() {
        Some("cn") => ".amazonaws.com.cn",
        Some("eusc") => ".amazonaws.eu",
        _ => ".amazonaws.com",
    };
    let server = host.strip_prefix(&bucket).and_then(|rest| rest.strip_suffix(partition));
    server.is_some_and(|server| {
        server == "s3" || ["s3.", "s3-", "s3.dualstack."].iter().any(|s3| server.strip_prefix(s3) == Some(region))
    })
}

/// Returns whether a path is that of a verdict on a resource of a stack: `/STACK|RESOURCE|REQUEST`, percent-encoded.
/// Otherwise CloudFormation would hand the verdict to a stack of somebody else's account.
fn names_stack(path: &str, stack_id: &str) -> bool {
    let path = path.replace("%3A", ":").replace("%2F", "/").replace("%7C", "|");
    let rest = path.strip_prefix('/').and_then(|key| key.strip_prefix(stack_id));
    rest.is_some_and(|rest| rest.starts_with('|'))
}

impl Step {
    /// Tells CloudFormation the outcome: the step is done and gives these attributes, or the deploy has to fail for
    /// this reason. The resource is known as `resource` from then on. CloudFormation masks the attributes wherever it
    /// shows the stack.
    ///
    /// # Errors
    /// When CloudFormation cannot be reached or does not take the verdict.
    pub async fn respond(self, resource: &str, outcome: Result<Attributes, String>) -> Result<(), Source> {
        let mut verdict = self.verdict(resource, outcome).to_string();
        if verdict.len() > LONGEST_VERDICT {
            let reason = format!("{} bytes of attributes are too many", verdict.len());
            verdict = self.verdict(resource, Err(reason)).to_string();
        }
        let client = tls::http()?.timeout(TIMEOUT).build()?;
        // The signature of the address covers the content type, which is none.
        let response = client.put(self.address).body(verdict).send().await;
        let response = response.map_err(reqwest::Error::without_url)?;
        response.error_for_status().map_err(reqwest::Error::without_url)?;
        Ok(())
    }

    fn verdict(&self, resource: &str, outcome: Result<Attributes, String>) -> Value {
        let mut verdict = json!({
            "PhysicalResourceId": resource,
            "StackId": self.stack_id,
            "RequestId": self.request_id,
            "LogicalResourceId": self.logical_id,
        });
        match outcome {
            Ok(attributes) => {
                verdict["Status"] = "SUCCESS".into();
                if !attributes.is_empty() {
                    verdict["Data"] = attributes.into();
                    verdict["NoEcho"] = true.into();
                }
            }
            Err(reason) => {
                let reason: String = reason.chars().take(LONGEST_REASON).collect();
                verdict["Status"] = "FAILED".into();
                verdict["Reason"] = reason.into();
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    //! Tests to whom a verdict may be sent.

    use super::*;

    const STACK: &str = "arn:aws:cloudformation:eu-west-1:123456789012:stack/chat/16580499-7622-4a9c-b32f-4eba35da93da";
    const KEY: &str = "arn%3Aaws%3Acloudformation%3Aeu-west-1%3A123456789012%3Astack/chat/\
                       16580499-7622-4a9c-b32f-4eba35da93da%7CSecret%7C82304eb2-bdda-469f-a33b-a3f1406d0a52?Sign=a";
    const BUCKET: &str = "cloudformation-custom-resource-response-euwest1";

    /// Says what becomes of an event with this address, in a function of this region.
    fn accept(region: &str, endpoint: Option<&str>, stack_id: &str, address: &str) -> Result<(), Forged> {
        let endpoint = endpoint.map(|endpoint| endpoint.parse().unwrap());
        let cloudformation = CloudFormation { stack_id: STACK.into(), region: region.into(), endpoint };
        ["Create", "Update", "Delete"]
            .iter()
            .map(|kind| {
                let event = json!({
                    "RequestType": kind,
                    "ServiceToken": "arn:aws:lambda:eu-west-1:123456789012:function:secret-get",
                    "ResponseURL": address,
                    "StackId": stack_id,
                    "RequestId": "82304eb2-bdda-469f-a33b-a3f1406d0a52",
                    "LogicalResourceId": "Secret",
                    "PhysicalResourceId": "secret",
                    "ResourceType": "Custom::Secret",
                    "ResourceProperties": {},
                    "OldResourceProperties": {},
                });
                cloudformation.accept(serde_json::from_value(event).unwrap()).map(drop)
            })
            .reduce(|one, other| {
                assert_eq!(one, other, "{address}");
                one
            })
            .unwrap()
    }

    #[test]
    fn cloudformation_gets_its_verdict_in_every_region() {
        for (region, host) in [
            ("eu-west-1", "euwest1.s3.eu-west-1.amazonaws.com"),
            ("eu-west-1", "euwest1.s3-eu-west-1.amazonaws.com"),
            ("eu-west-1", "euwest1.s3.dualstack.eu-west-1.amazonaws.com"),
            ("us-east-1", "useast1.s3.amazonaws.com"),
            ("us-gov-west-1", "usgovwest1.s3-us-gov-west-1.amazonaws.com"),
            ("cn-north-1", "cnnorth1.s3.cn-north-1.amazonaws.com.cn"),
            ("eusc-de-east-1", "euscdeeast1.s3.eusc-de-east-1.amazonaws.eu"),
        ] {
            let address = format!("https://cloudformation-custom-resource-response-{host}/{KEY}");
            assert_eq!(accept(region, None, STACK, &address), Ok(()), "{address}");
        }
    }

    #[test]
    fn nobody_else_gets_a_verdict() {
        let own = format!("https://{BUCKET}.s3.eu-west-1.amazonaws.com");
        let path = format!("/{KEY}");
        let other_stack = KEY.replace("123456789012", "210987654321");
        let longer_name = KEY.replace("%7CSecret", "0%7CSecret");
        for address in [
            format!("http://127.0.0.1:9000{path}"),
            format!("https://127.0.0.1{path}"),
            format!("https://attacker.example{path}"),
            format!("http://{BUCKET}.s3.eu-west-1.amazonaws.com{path}"),
            format!("{own}:8443{path}"),
            format!("{own}.attacker.example{path}"),
            format!("{own}@attacker.example{path}"),
            format!("https://user@{BUCKET}.s3.eu-west-1.amazonaws.com{path}"),
            format!("https://{BUCKET}0.s3.eu-west-1.amazonaws.com{path}"),
            format!("https://my-{BUCKET}.s3.eu-west-1.amazonaws.com{path}"),
            format!("https://s3.eu-west-1.amazonaws.com/{BUCKET}{path}"),
            format!("https://{BUCKET}.s3-website.eu-west-1.amazonaws.com{path}"),
            format!("https://{BUCKET}.s3.us-east-1.amazonaws.com{path}"),
            format!("https://{BUCKET}.s3.eu-west-1.amazonaws.com.cn{path}"),
            format!("https://cloudformation-custom-resource-response-useast1.s3.amazonaws.com{path}"),
            format!("{own}/{other_stack}"),
            format!("{own}/{longer_name}"),
            format!("{own}/PRESIGNED"),
            own,
            String::new(),
        ] {
            assert_eq!(accept("eu-west-1", None, STACK, &address), Err(Forged::Address), "{address}");
        }
    }

    #[test]
    fn another_stack_gets_no_verdict_at_any_address() {
        let address = format!("https://{BUCKET}.s3.eu-west-1.amazonaws.com/{KEY}");
        let other = STACK.replace("/chat/", "/chat-2/");
        assert_eq!(accept("eu-west-1", None, &other, &address), Err(Forged::Stack));
    }

    #[test]
    fn at_an_endpoint_of_its_own_a_verdict_stays_there() {
        let endpoint = Some("http://127.0.0.1:4566");
        for address in ["http://127.0.0.1:4566/cfn-response/1", "http://localhost:4566/cfn-response/1"] {
            assert_eq!(accept("us-east-1", endpoint, STACK, address), Ok(()), "{address}");
        }
        for address in [
            "http://127.0.0.1:4567/",
            "https://127.0.0.1:4566/",
            "http://localhost/",
            "http://attacker.example:4566/",
            "http://localhost.attacker.example:4566/",
            "http://a@127.0.0.1:4566/",
        ] {
            assert_eq!(accept("us-east-1", endpoint, STACK, address), Err(Forged::Address), "{address}");
        }
        assert_eq!(accept("us-east-1", Some("http://aws:4566"), STACK, "http://127.0.0.1:4566/"), Err(Forged::Address));
    }
}
