//! Calls of AWS services that are too seldom called to be worth their SDKs, which take minutes to compile.

use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use axum::http::{self, Method};
use serde_json::Value;

use super::Aws;

impl Aws {
    /// Calls an action of a service that speaks AWS's JSON protocol, such as `secretsmanager.CreateSecret`.
    pub async fn act(&self, service: &str, target: &str, body: &Value) -> Result<Value> {
        let request = http::Request::post(&self.endpoint)
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", target)
            .body(body.to_string())?;
        let answer = self.call(service, request).await;
        let answer = answer.with_context(|| format!("{target} fails"))?;
        serde_json::from_str(&answer).with_context(|| format!("{target} does not answer JSON"))
    }

    /// Calls a service that speaks REST with JSON, such as `apigateway`.
    pub async fn rest(
        &self,
        service: &str,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Value> {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.endpoint))
            .header("content-type", "application/json")
            .body(body.to_string())?;
        let answer = self.call(service, request).await;
        let answer = answer.with_context(|| format!("{service} {path} fails"))?;
        serde_json::from_str(&answer).with_context(|| format!("{path} does not answer JSON"))
    }

    /// Calls an action of a service that takes a form and answers XML, such as `cloudformation`.
    pub async fn query(&self, service: &str, form: &str) -> Result<String> {
        let request = http::Request::post(&self.endpoint)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.to_owned())?;
        self.call(service, request).await
    }

    async fn call(&self, service: &str, mut request: http::Request<String>) -> Result<String> {
        let identity = self.credentials.clone().into();
        let parameters = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?;
        let headers = request.headers().iter();
        let headers =
            headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let signable = SignableRequest::new(
            request.method().as_str(),
            request.uri().to_string(),
            headers,
            SignableBody::Bytes(request.body().as_bytes()),
        )?;
        let (signature, _) = sign(signable, &parameters.into())?.into_parts();
        signature.apply_to_request_http1x(&mut request);

        let request = request.try_into()?;
        let answer = crate::machine::http::client()?.execute(request).await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("{status}: {text}");
        }
        Ok(text)
    }
}
