//! Sends the AWS SDK's requests through reqwest, the HTTP client of all other adapters.
//!
//! The SDK's own client brings HTTP/2 into every function, which single requests to SQS, DynamoDB and SNS do not need.
//! It also parses all of the system's root certificates once for each service, which costs half a megabyte and
//! milliseconds of the first request.

use std::error::Error;

use aws_sdk_sqs::config::SharedHttpClient;
use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::{Headers, StatusCode},
};
use aws_smithy_types::body::SdkBody;
use reqwest::{Client, Method, Response};

use crate::tls;

/// Makes an SDK HTTP client with connections of its own.
pub(crate) fn client() -> SharedHttpClient {
    let connector = SharedHttpConnector::new(Connector(make()));
    http_client_fn(move |_: &HttpConnectorSettings, _: &RuntimeComponents| connector.clone())
}

/// Builds the underlying client. `None` means that TLS cannot be set up, which every request then reports.
fn make() -> Option<Client> {
    // A signature covers the host, so a proxy would break it.
    let builder = tls::http().ok()?.no_proxy();
    builder.build().ok()
}

/// Adapts reqwest to the SDK. The SDK itself applies the timeouts.
#[derive(Debug)]
struct Connector(Option<Client>);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let client = client.ok_or_else(|| user_error("TLS cannot be set up".into()))?;
            convert(send(&client, &request).await?).await
        })
    }
}

async fn send(client: &Client, request: &HttpRequest) -> Result<Response, ConnectorError> {
    let method = Method::from_bytes(request.method().as_bytes());
    let method = method.map_err(|error| user_error(error.into()))?;
    let body = request.body().bytes();
    let body = body.ok_or_else(|| user_error("a streamed body is not supported".into()))?;
    let mut outgoing = client.request(method, request.uri()).body(body.to_vec());
    for (name, value) in request.headers() {
        outgoing = outgoing.header(name, value);
    }
    outgoing.send().await.map_err(failure)
}

/// Reads the whole response into the SDK's type.
async fn convert(response: Response) -> Result<HttpResponse, ConnectorError> {
    let status = StatusCode::try_from(response.status().as_u16());
    let status = status.map_err(|error| user_error(error.into()))?;
    let headers = Headers::try_from(response.headers().clone());
    let headers = headers.map_err(|error| user_error(error.into()))?;
    let body = response.bytes().await.map_err(failure)?;
    let mut converted = HttpResponse::new(status, SdkBody::from(body));
    *converted.headers_mut() = headers;
    Ok(converted)
}

/// Classifies an error for the SDK, which retries timeouts and failed connections.
fn failure(error: reqwest::Error) -> ConnectorError {
    if error.is_timeout() {
        return ConnectorError::timeout(error.into());
    }
    if error.is_builder() {
        return user_error(error.into());
    }
    ConnectorError::io(error.into())
}

fn user_error(error: Box<dyn Error + Send + Sync>) -> ConnectorError {
    ConnectorError::user(error)
}
