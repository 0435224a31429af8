//! Runs API Gateway: `cargo lambda watch --only-lambda-apis`, which turns HTTP requests into payload 2.0 by the routes
//! in the workspace's `Cargo.toml`, and has Lambda's Invoke API.
//!
//! It never gets a `--timeout`: that would also end the long polls of [`Gateway::next`].

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use axum::body::Bytes;
use futures_util::Stream;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::sleep,
};

use crate::{
    lambda::{functions::Catalogue, runtime_api::Invocation},
    machine::{
        ports::Port,
        process::{Group, log_file, wait_until_ready},
        tools::Tools,
        workspace::Workspace,
    },
};

/// The function that gets requests without a route.
const NO_ROUTE: &str = "_";

/// The time beyond a function's timeout after which its caller gives up, in case nobody reports its end.
const SLACK: Duration = Duration::from_secs(5);

/// The running gateway.
pub struct Gateway {
    /// Where it listens. Clients come in by the [`Entrance`](super::entrance::Entrance).
    pub url: String,
    client: Client,
    catalogue: Arc<Catalogue>,
    /// Sends responses over HTTP/2: over HTTP/1.1 the gateway now and then does not read the rest of a large one.
    answers: Client,
    _process: Child,
}

impl Gateway {
    /// Starts it in a process group, on a free port.
    pub async fn start(
        tools: &Tools,
        workspace: &Workspace,
        catalogue: Arc<Catalogue>,
        group: &Group,
        logs: &Path,
    ) -> Result<Self> {
        let port = Port::Free.number()?;
        let (path, log) = log_file(logs, "gateway")?;
        let mut process = group.spawn(
            Command::new(tools.program("cargo-lambda"))
                .args(["lambda", "watch", "--only-lambda-apis", "--disable-cors"])
                .args(["-A", "127.0.0.1", "-P", &port.to_string()])
                .current_dir(&workspace.root)
                .stdout(log.try_clone()?)
                .stderr(log),
        )?;
        wait_until_ready("cargo-lambda", &mut process, &path, async || {
            TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await?;
        Ok(Self {
            url: format!("http://127.0.0.1:{port}"),
            client: crate::machine::http::client()?,
            catalogue,
            answers: crate::machine::http::builder()?.http2_prior_knowledge().build()?,
            _process: process,
        })
    }

    /// Waits for a request for a function.
    pub async fn next(&self, function: &str) -> Result<Invocation> {
        let url = format!("{}/.rt/{function}/2018-06-01/runtime/invocation/next", self.url);
        let answer = self.client.get(url).send().await?.error_for_status()?;
        let header = |name| {
            let value = answer.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        Ok(Invocation {
            id: header("lambda-runtime-aws-request-id"),
            trace: header("lambda-runtime-trace-id"),
            event: answer.bytes().await?,
        })
    }

    /// Passes a function's response on to the gateway; `kind` is `response` or `error`.
    pub async fn answer(&self, function: &str, id: &str, kind: &str, body: Bytes) -> Result<()> {
        let url = format!("{}/.rt/{function}/2018-06-01/runtime/invocation/{id}/{kind}", self.url);
        self.answers.post(url).body(body).send().await?.error_for_status()?;
        Ok(())
    }

    /// Gives the gateway a response as it is written: first its head, as JSON, then the body's chunks. An error among
    /// them breaks the client's connection.
    pub fn stream(
        &self,
        function: &str,
        id: &str,
        chunks: impl Stream<Item = Result<Bytes>> + Send + 'static,
    ) -> impl Future<Output = reqwest::Result<reqwest::Response>> + Send + 'static {
        let url = format!("{}/.rt/{function}/2018-06-01/runtime/invocation/{id}/response", self.url);
        self.client
            .post(url)
            .header("lambda-runtime-function-response-mode", "streaming")
            .body(reqwest::Body::wrap_stream(chunks))
            .send()
    }

    /// Reports a failed invocation to the gateway.
    pub async fn fail(&self, function: &str, id: &str, kind: &str, message: &str) -> Result<()> {
        let error = json!({"errorType": kind, "errorMessage": message});
        self.answer(function, id, "error", error.to_string().into()).await
    }

    /// Calls a function by Lambda's Invoke API, and returns its result.
    pub async fn invoke(&self, function: &str, event: &Value) -> Result<Value> {
        let url = format!("{}/2015-03-31/functions/{function}/invocations", self.url);
        let answer =
            self.client.post(url).json(event).timeout(self.catalogue.get(function)?.timeout + SLACK).send().await;
        let answer = answer.with_context(|| format!("{function} does not answer"))?;
        let status = answer.status();
        let body = answer.text().await?;
        if !status.is_success() {
            bail!("{function} failed: {body}");
        }
        serde_json::from_str(&body).with_context(|| format!("{function} did not return JSON"))
    }

    /// Answers requests without a route as API Gateway does. By itself, this gateway would let them wait for a
    /// function without a name.
    pub async fn refuse_unknown_routes(self: Arc<Self>) {
        let not_found = json!({
            "statusCode": 404,
            "headers": {"content-type": "application/json"},
            "multiValueHeaders": {},
            "body": json!({"message": "Not Found"}).to_string(),
            "isBase64Encoded": false,
            "cookies": [],
        });
        loop {
            match self.next(NO_ROUTE).await {
                Ok(request) => {
                    let body = not_found.to_string().into();
                    let _ = self.answer(NO_ROUTE, &request.id, "response", body).await;
                }
                Err(_) => sleep(Duration::from_millis(100)).await, // the gateway is stopping
            }
        }
    }
}
