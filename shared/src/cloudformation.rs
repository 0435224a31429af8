//! CloudFormation's custom resources: a step of a deploy that a function takes.
//!
//! CloudFormation waits until the function has sent its verdict to a presigned address, and hangs without one. So
//! [`answer`] is called whether the step succeeded or failed.
//! Source: <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref.html>.

use std::time::Duration;

use aws_lambda_events::cloudformation::CloudFormationCustomResourceRequest;
use serde_json::{Map, Value, json};

use crate::{error::Source, tls};

/// A step that CloudFormation asks for.
pub type Request = CloudFormationCustomResourceRequest<Value, Value>;

/// What a step gives to the rest of the template, by `Fn::GetAtt`.
pub type Attributes = Map<String, Value>;

/// How long an attempt to answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Characters of a reason, and bytes of the whole answer.
const LONGEST_REASON: usize = 500;
const LONGEST_ANSWER: usize = 4_096;

/// Returns the properties to bring about, or nothing when the resource is to be removed.
#[must_use]
pub fn properties(request: &Request) -> Option<&Value> {
    match request {
        Request::Create(it) => Some(&it.resource_properties),
        Request::Update(it) => Some(&it.resource_properties),
        _ => None,
    }
}

/// Tells CloudFormation the outcome of `request`: the step is done and gives these attributes, or the deploy has to
/// fail for this reason. The resource is known as `resource` from then on. CloudFormation masks the attributes wherever
/// it shows the stack.
///
/// # Errors
/// When CloudFormation cannot be reached or does not take the answer.
pub async fn answer(request: &Request, resource: &str, outcome: Result<Attributes, String>) -> Result<(), Source> {
    let (url, stack, id, logical_id) = match request {
        Request::Create(it) => (&it.response_url, &it.stack_id, &it.request_id, &it.logical_resource_id),
        Request::Update(it) => (&it.response_url, &it.stack_id, &it.request_id, &it.logical_resource_id),
        Request::Delete(it) => (&it.response_url, &it.stack_id, &it.request_id, &it.logical_resource_id),
        _ => return Err("an unknown type of request".into()),
    };
    let body = |outcome| {
        let mut body = json!({
            "PhysicalResourceId": resource,
            "StackId": stack,
            "RequestId": id,
            "LogicalResourceId": logical_id,
        });
        add_outcome(&mut body, outcome);
        body.to_string()
    };
    let mut text = body(outcome);
    if text.len() > LONGEST_ANSWER {
        let reason = format!("{} bytes of attributes are too many", text.len());
        text = body(Err(reason));
    }
    let client = tls::http()?.timeout(TIMEOUT);
    // The signature of the address covers the content type, which is none.
    let response = client.build()?.put(url).body(text).send().await;
    let response = response.map_err(reqwest::Error::without_url)?;
    response.error_for_status().map_err(reqwest::Error::without_url)?;
    Ok(())
}

fn add_outcome(body: &mut Value, outcome: Result<Attributes, String>) {
    match outcome {
        Ok(attributes) => {
            body["Status"] = "SUCCESS".into();
            if !attributes.is_empty() {
                body["Data"] = attributes.into();
                body["NoEcho"] = true.into();
            }
        }
        Err(reason) => {
            let reason: String = reason.chars().take(LONGEST_REASON).collect();
            body["Status"] = "FAILED".into();
            body["Reason"] = reason.into();
        }
    }
}
