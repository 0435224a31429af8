//! The Runtime API that the functions' processes talk to, at an address of its own for each process.
//!
//! It hands out invocations with a true deadline, and passes each response on as a stream to whoever started the
//! process. See <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>.

use std::{
    collections::HashMap,
    process::ExitStatus,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use axum::{
    Router,
    body::{Body, BodyDataStream, Bytes, to_bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::machine::{lock, ports::Port};

/// Lambda accepts 6 MB.
const BODY_LIMIT: usize = 6 << 20;

/// The server. It ends when this is dropped.
pub struct RuntimeApi {
    address: String,
    endpoints: Arc<Endpoints>,
    count: AtomicU64,
    _server: JoinSet<()>,
}

/// The processes' endpoints by their numbers, which stand first in their paths.
type Endpoints = Mutex<HashMap<u64, Arc<Endpoint>>>;

/// Where one process asks for invocations and sends responses.
struct Endpoint {
    function: String,
    invocations: tokio::sync::Mutex<mpsc::UnboundedReceiver<(Invocation, SystemTime)>>,
    reports: mpsc::UnboundedSender<Report>,
}

/// A request for a function.
pub struct Invocation {
    /// The request's id.
    pub id: String,
    /// Its X-Ray trace.
    pub trace: String,
    /// The event, as JSON.
    pub event: Bytes,
}

/// What a process does.
pub enum Report {
    /// The process asked for its next invocation, at this moment.
    Asked(Instant),
    /// The process sends a response.
    Responded(FunctionResponse),
    /// The process ended.
    Exited(std::io::Result<ExitStatus>),
}

/// A response to an invocation. When it is dropped without [`FunctionResponse::accept`], the process is told that it
/// did not arrive.
pub struct FunctionResponse {
    /// When the process began to send it.
    pub at: Instant,
    /// `response` or `error`.
    pub kind: String,
    /// Whether the function writes it as time goes on.
    pub is_streamed: bool,
    body: Body,
    accepted: oneshot::Sender<()>,
}

/// An execution environment: a process and its endpoint, which closes when this is dropped.
pub struct Environment {
    /// The process. It is killed when this is dropped.
    pub process: Child,
    /// When it was started.
    pub started: Instant,
    id: u64,
    endpoints: Arc<Endpoints>,
    invocations: mpsc::UnboundedSender<(Invocation, SystemTime)>,
    reports: mpsc::UnboundedReceiver<Report>,
}

impl RuntimeApi {
    /// Serves on a free port.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::from_std(Port::Free.listen()?)?;
        let address = listener.local_addr()?.to_string();
        let endpoints = Arc::<Endpoints>::default();
        let routes = routes().with_state(endpoints.clone());
        let mut server = JoinSet::new();
        server.spawn(async move {
            let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
            let _ = axum::serve(listener, routes).await; // serves until it is aborted
        });
        Ok(Self { address, endpoints, count: AtomicU64::default(), _server: server })
    }

    /// Starts a program as an execution environment of a function, with the variables that Lambda itself sets.
    pub fn launch(
        &self,
        function: &str,
        command: &mut Command,
        spawn: impl FnOnce(&mut Command) -> Result<Child>,
    ) -> Result<Environment> {
        let id = self.count.fetch_add(1, Ordering::Relaxed);
        command
            .env("AWS_LAMBDA_RUNTIME_API", format!("http://{}/{id}", self.address))
            .env("AWS_LAMBDA_FUNCTION_NAME", function)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand");
        let (give, invocations) = mpsc::unbounded_channel();
        let (report, reports) = mpsc::unbounded_channel();
        let endpoint = Endpoint {
            function: function.to_owned(),
            invocations: tokio::sync::Mutex::new(invocations),
            reports: report,
        };
        lock(&self.endpoints).insert(id, Arc::new(endpoint));
        let started = Instant::now();
        let process = spawn(command).inspect_err(|_| drop(lock(&self.endpoints).remove(&id)))?;
        Ok(Environment { process, started, id, endpoints: self.endpoints.clone(), invocations: give, reports })
    }
}

impl Environment {
    /// Lets the process have an invocation when it asks for the next.
    pub fn give(&self, invocation: Invocation, deadline: SystemTime) {
        let _ = self.invocations.send((invocation, deadline)); // its endpoint lives as long as this
    }

    /// Waits for the next report. A response that was sent before the process ended comes first.
    pub async fn next_report(&mut self) -> Report {
        tokio::select! {
            biased;
            Some(report) = self.reports.recv() => report,
            status = self.process.wait() => Report::Exited(status),
        }
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        lock(&self.endpoints).remove(&self.id);
    }
}

impl FunctionResponse {
    /// Reads the whole body, which Lambda limits to 6 MB.
    pub async fn body(&mut self) -> Result<Bytes> {
        Ok(to_bytes(std::mem::take(&mut self.body), BODY_LIMIT).await?)
    }

    /// Gives the body as it is written.
    pub fn chunks(&mut self) -> BodyDataStream {
        std::mem::take(&mut self.body).into_data_stream()
    }

    /// Tells the process that its response arrived.
    pub fn accept(self) {
        let _ = self.accepted.send(()); // it may have ended
    }
}

fn routes() -> Router<Arc<Endpoints>> {
    Router::new()
        .route("/{id}/2018-06-01/runtime/invocation/next", get(next))
        .route("/{id}/2018-06-01/runtime/invocation/{request}/{kind}", post(respond))
        .route("/{id}/2018-06-01/runtime/init/error", post(async || StatusCode::ACCEPTED))
}

fn endpoint(endpoints: &Endpoints, id: u64) -> Option<Arc<Endpoint>> {
    lock(endpoints).get(&id).cloned()
}

async fn next(State(endpoints): State<Arc<Endpoints>>, Path(id): Path<u64>) -> Response {
    let asked = Instant::now();
    let Some(endpoint) = endpoint(&endpoints, id) else {
        return StatusCode::GONE.into_response();
    };
    let _ = endpoint.reports.send(Report::Asked(asked));
    let Some((invocation, deadline)) = endpoint.invocations.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let deadline = deadline.duration_since(UNIX_EPOCH).unwrap_or_default();
    let arn = format!("arn:aws:lambda:us-east-1:000000000000:function:{}", endpoint.function);
    let headers = [
        ("lambda-runtime-aws-request-id", invocation.id),
        ("lambda-runtime-deadline-ms", deadline.as_millis().to_string()),
        ("lambda-runtime-invoked-function-arn", arn),
        ("lambda-runtime-trace-id", invocation.trace),
        ("content-type", "application/json".to_owned()),
    ];
    (headers, invocation.event).into_response()
}

async fn respond(
    State(endpoints): State<Arc<Endpoints>>,
    Path((id, _, kind)): Path<(u64, String, String)>,
    headers: HeaderMap,
    body: Body,
) -> StatusCode {
    let at = Instant::now();
    let Some(endpoint) = endpoint(&endpoints, id) else {
        return StatusCode::GONE;
    };
    let (accepted, acceptance) = oneshot::channel();
    let _ = endpoint.reports.send(Report::Responded(FunctionResponse {
        at,
        kind,
        is_streamed: headers.contains_key("lambda-runtime-function-response-mode"),
        body,
        accepted,
    }));
    match acceptance.await {
        Ok(()) => StatusCode::ACCEPTED,
        Err(_) => StatusCode::BAD_GATEWAY,
    }
}
