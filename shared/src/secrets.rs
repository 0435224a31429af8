//! Reads secrets from AWS Secrets Manager.
//!
//! Only a deploy reads any, in one request, which is signed here: the SDK of the service takes a minute to compile.

use std::time::{Duration, SystemTime};

use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use lambda_http::http;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{aws::Aws, config::ConfigError, error::Source, tls};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Limits a member of the secret, in bytes. Lambda allows 4 096 for all variables of a function; a test adds them up.
pub const LONGEST_MEMBER: usize = 256;

/// Sends requests to Secrets Manager.
pub struct Secrets(Aws);

/// The used field of a response.
#[derive(Deserialize)]
struct SecretValue {
    #[serde(rename = "SecretString")]
    text: Option<SecretString>,
}

impl Secrets {
    /// Takes region and credentials from Lambda's variables. Nothing is opened yet.
    ///
    /// # Errors
    /// When a variable that Lambda always sets is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        Aws::from_env().map(Self)
    }

    /// Reads the text of a version of a secret, by default of the current one.
    ///
    /// # Errors
    /// When Secrets Manager cannot be reached or refuses, with its reason, or when the secret is no text.
    pub async fn read(&self, name: &str, version: Option<&str>) -> Result<SecretString, Source> {
        let mut body = json!({ "SecretId": name });
        if let Some(version) = version {
            body["VersionId"] = version.into();
        }
        let request = http::Request::post(self.endpoint())
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", "secretsmanager.GetSecretValue")
            .body(body.to_string())?;
        let client = tls::http()?.timeout(TIMEOUT).build()?;
        let response = client.execute(self.sign(request)?.try_into()?).await?;
        let status = response.status();
        let body = response.bytes().await?;
        if !status.is_success() {
            let refusal: Value = serde_json::from_slice(&body).unwrap_or_default();
            let kind = refusal["__type"].as_str().unwrap_or_default();
            return Err(format!("Secrets Manager refuses {name} with {status} {kind}").into());
        }
        // serde_json's error quotes a value of the wrong type.
        let value: Option<SecretValue> = serde_json::from_slice(&body).ok();
        let text = value.and_then(|value| value.text);
        text.ok_or_else(|| format!("the secret {name} is no text").into())
    }

    fn endpoint(&self) -> String {
        let region = self.0.region.as_ref();
        let default = || format!("https://secretsmanager.{region}.amazonaws.com/");
        self.0.endpoint.clone().unwrap_or_else(default)
    }

    fn sign(&self, mut request: http::Request<String>) -> Result<http::Request<String>, Source> {
        let identity = self.0.credentials.clone().into();
        let parameters = SigningParams::builder()
            .identity(&identity)
            .region(self.0.region.as_ref())
            .name("secretsmanager")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?;
        let headers = request.headers().iter();
        let headers = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let signable = SignableRequest::new(
            request.method().as_str(),
            request.uri().to_string(),
            headers,
            SignableBody::Bytes(request.body().as_bytes()),
        )?;
        let (signature, _) = sign(signable, &parameters.into())?.into_parts();
        signature.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}
