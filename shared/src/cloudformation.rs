//! CloudFormation's custom resources: a step of a deploy that a function takes.
//!
//! CloudFormation waits until the function has sent its verdict to a presigned address, and hangs without one. So
//! [`answer`] is called whatever came of the step.
//! Source: <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref.html>.

use std::time::Duration;

use aws_lambda_events::cloudformation::CloudFormationCustomResourceRequest;
use serde_json::{Value, json};

use crate::{error::Source, tls};

/// What CloudFormation asks for.
pub type Request = CloudFormationCustomResourceRequest<Value, Value>;

/// How long an attempt to answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Characters of a reason. An answer may have 4 096 bytes.
const LONGEST_REASON: usize = 500;

/// Tells CloudFormation what came of `request`: the step is done, or the deploy has to fail for the given reason.
/// The resource is known as `resource` from then on.
///
/// # Errors
/// When CloudFormation cannot be reached or does not take the answer.
pub async fn answer(
    request: &Request,
    resource: &str,
    outcome: Result<(), String>,
) -> Result<(), Source> {
    let (url, stack, id, logical_id) = match request {
        Request::Create(it) => (
            &it.response_url,
            &it.stack_id,
            &it.request_id,
            &it.logical_resource_id,
        ),
        Request::Update(it) => (
            &it.response_url,
            &it.stack_id,
            &it.request_id,
            &it.logical_resource_id,
        ),
        Request::Delete(it) => (
            &it.response_url,
            &it.stack_id,
            &it.request_id,
            &it.logical_resource_id,
        ),
        _ => return Err("an unknown type of request".into()),
    };
    let mut body = json!({
        "Status": "SUCCESS",
        "PhysicalResourceId": resource,
        "StackId": stack,
        "RequestId": id,
        "LogicalResourceId": logical_id,
    });
    if let Err(reason) = outcome {
        body["Status"] = "FAILED".into();
        body["Reason"] = reason
            .chars()
            .take(LONGEST_REASON)
            .collect::<String>()
            .into();
    }
    let client = tls::http()?.timeout(TIMEOUT).build()?;
    // The signature of the address covers the content type, which is none.
    let response = client.put(url).body(body.to_string()).send().await;
    let response = response.map_err(reqwest::Error::without_url)?;
    response
        .error_for_status()
        .map_err(reqwest::Error::without_url)?;
    Ok(())
}
