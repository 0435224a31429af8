//! Signs requests by AWS Signature Version 4.

use std::time::SystemTime;

use anyhow::Result;
use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use reqwest::{
    Body, Request,
    header::{HeaderName, HeaderValue},
};

use super::Aws;

impl Aws {
    /// Signs a request for a service.
    pub(super) fn sign(&self, service: &str, request: &mut Request) -> Result<()> {
        let identity = Credentials::new(&self.key, &self.secret, self.token.clone(), None, "environment").into();
        let parameters = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?;
        let headers = request.headers().iter();
        let headers = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let body = request.body().and_then(Body::as_bytes).unwrap_or_default();
        let url = request.url().as_str();
        let signable = SignableRequest::new(request.method().as_str(), url, headers, SignableBody::Bytes(body))?;
        let (signature, _) = sign(signable, &parameters.into())?.into_parts();
        for (name, value) in signature.headers() {
            request.headers_mut().insert(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
        }
        Ok(())
    }
}
