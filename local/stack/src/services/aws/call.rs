//! Calls AWS services over their JSON, REST and form protocols.

use anyhow::{Context, Result, bail};
use reqwest::{Method, RequestBuilder, header::CONTENT_TYPE};
use serde_json::Value;

use super::Aws;

impl Aws {
    /// Calls an action of a service that speaks AWS's JSON protocol, such as `secretsmanager.CreateSecret`.
    pub async fn act(&self, service: &str, target: &str, body: &Value) -> Result<Value> {
        let version = match service {
            "sqs" | "dynamodb" => "1.0",
            _ => "1.1",
        };
        let request = self
            .client
            .post(&self.endpoint)
            .header(CONTENT_TYPE, format!("application/x-amz-json-{version}"))
            .header("x-amz-target", target)
            .body(body.to_string());
        let response = self.call(service, request).await;
        let response = response.with_context(|| format!("{target} fails"))?;
        if response.is_empty() {
            return Ok(Value::Null); // SQS deletes without a word
        }
        serde_json::from_str(&response).with_context(|| format!("{target} does not return JSON"))
    }

    /// Calls a service that speaks REST with JSON, such as `apigateway`.
    pub async fn rest(&self, service: &str, method: Method, path: &str, body: &Value) -> Result<Value> {
        let request = self
            .client
            .request(method, format!("{}{path}", self.endpoint))
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string());
        let response = self.call(service, request).await;
        let response = response.with_context(|| format!("{service} {path} fails"))?;
        serde_json::from_str(&response).with_context(|| format!("{path} does not return JSON"))
    }

    /// Calls an action of a service that takes a form and returns XML, such as `cloudformation`.
    pub async fn query(&self, service: &str, form: &str) -> Result<String> {
        let request = self
            .client
            .post(&self.endpoint)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.to_owned());
        self.call(service, request).await
    }

    async fn call(&self, service: &str, request: RequestBuilder) -> Result<String> {
        let mut request = request.build()?;
        self.sign(service, &mut request)?;
        let response = self.client.execute(request).await?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            bail!("{status}: {text}");
        }
        Ok(text)
    }
}
