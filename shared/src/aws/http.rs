//! HTTP for the AWS clients, by the same client that Gemini is asked with.
//!
//! The SDK's own one brings HTTP/2 into every function, though SQS, DynamoDB and SNS are asked in single requests, and
//! it reads and parses all of the system's certificates for each client: half a megabyte and milliseconds of the first
//! request.

use std::error::Error;

use aws_sdk_sqs::config::SharedHttpClient;
use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
            http_client_fn,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::{Headers, StatusCode},
};
use aws_smithy_types::body::SdkBody;
use reqwest::{Client, Method, Response, redirect::Policy};

use crate::tls;

/// A new client, with connections of its own.
pub(crate) fn client() -> SharedHttpClient {
    let connector = SharedHttpConnector::new(Connector(make()));
    http_client_fn(move |_: &HttpConnectorSettings, _: &RuntimeComponents| connector.clone())
}

/// `None` when TLS does not work, which every request then reports.
fn make() -> Option<Client> {
    // What is signed is sent as it is and where it was signed for.
    let builder = tls::http().ok()?.redirect(Policy::none()).no_proxy();
    builder.build().ok()
}

/// Limits of time are kept by the SDK, around this.
#[derive(Debug)]
struct Connector(Option<Client>);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let client = client.ok_or_else(|| user_error("TLS cannot be set up".into()))?;
            answer(send(&client, &request).await?).await
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

async fn answer(response: Response) -> Result<HttpResponse, ConnectorError> {
    let status = StatusCode::try_from(response.status().as_u16());
    let status = status.map_err(|error| user_error(error.into()))?;
    let headers = Headers::try_from(response.headers().clone());
    let headers = headers.map_err(|error| user_error(error.into()))?;
    let body = response.bytes().await.map_err(failure)?;
    let mut answer = HttpResponse::new(status, SdkBody::from(body));
    *answer.headers_mut() = headers;
    Ok(answer)
}

/// A connection that failed is worth another try.
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
