//! The Runtime API that the functions' processes talk to, at an address of its own for each process.
//!
//! It hands out requests with a true deadline and passes answers on to the gateway, buffered.
//! See <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use tokio::{net::TcpListener, process::Child, sync::mpsc, task::JoinHandle};

use crate::{
    lambda::api_gateway::{Gateway, Invocation},
    machine::{lock, ports::Port},
};

/// Lambda accepts 6 MB.
const BODY_LIMIT: usize = 6 << 20;

/// The server.
pub struct Runtime {
    gateway: Arc<Gateway>,
    address: String,
    doors: Mutex<HashMap<u64, Arc<Door>>>,
    count: AtomicU64,
    server: Mutex<Option<JoinHandle<()>>>,
}

/// Where one process comes for requests and brings answers.
struct Door {
    function: String,
    requests: tokio::sync::Mutex<mpsc::UnboundedReceiver<(Invocation, SystemTime)>>,
    answered: mpsc::UnboundedSender<()>,
}

/// A process and our side of its door, which closes when this is dropped.
pub struct Environment {
    /// The process. It is killed when this is dropped.
    pub process: Child,
    channel: Channel,
}

/// Our side of a door, before its process is started.
pub struct Channel {
    /// What `AWS_LAMBDA_RUNTIME_API` must say.
    pub address: String,
    id: u64,
    runtime: Arc<Runtime>,
    requests: mpsc::UnboundedSender<(Invocation, SystemTime)>,
    answered: mpsc::UnboundedReceiver<()>,
}

impl Runtime {
    /// Serves on a free port.
    pub fn start(gateway: Arc<Gateway>) -> Result<Arc<Self>> {
        let listener = TcpListener::from_std(Port::Free.listen()?)?;
        let runtime = Arc::new(Self {
            gateway,
            address: format!("http://{}", listener.local_addr()?),
            doors: Mutex::default(),
            count: AtomicU64::default(),
            server: Mutex::default(),
        });
        let routes = routes(get(next), post(answer)).with_state(Arc::downgrade(&runtime));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, routes).await; // serves until it is aborted
        });
        *lock(&runtime.server) = Some(server);
        Ok(runtime)
    }

    /// Makes a door for a process of a function.
    pub fn open(self: &Arc<Self>, function: &str) -> Channel {
        let id = self.count.fetch_add(1, Ordering::Relaxed);
        let (give, requests) = mpsc::unbounded_channel();
        let (answered, answers) = mpsc::unbounded_channel();
        let door = Door {
            function: function.to_owned(),
            requests: tokio::sync::Mutex::new(requests),
            answered,
        };
        lock(&self.doors).insert(id, Arc::new(door));
        Channel {
            address: format!("{}/{id}", self.address),
            id,
            runtime: self.clone(),
            requests: give,
            answered: answers,
        }
    }
}

/// The Runtime API, with a door for each process: where it comes for its next request, and where it brings answers.
pub fn routes<S: Clone + Send + Sync + 'static>(
    next: MethodRouter<S>,
    answer: MethodRouter<S>,
) -> Router<S> {
    Router::new()
        .route("/{id}/2018-06-01/runtime/invocation/next", next)
        .route(
            "/{id}/2018-06-01/runtime/invocation/{request}/{kind}",
            answer,
        )
        .route(
            "/{id}/2018-06-01/runtime/init/error",
            post(async || StatusCode::ACCEPTED),
        )
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(server) = lock(&self.server).take() {
            server.abort();
        }
    }
}

impl Environment {
    /// Joins a process with its door.
    pub fn new(process: Child, channel: Channel) -> Self {
        Self { process, channel }
    }

    /// Lets the process do a request, when it asks for the next.
    pub fn give(&self, invocation: Invocation, deadline: SystemTime) {
        let _ = self.channel.requests.send((invocation, deadline)); // fails for no process, and that is waited for
    }

    /// Waits for the end of the process, or until it answered the request.
    pub async fn ended_or_answered(&mut self) -> Option<std::io::Result<std::process::ExitStatus>> {
        tokio::select! {
            biased;
            Some(()) = self.channel.answered.recv() => None,
            status = self.process.wait() => Some(status),
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        lock(&self.runtime.doors).remove(&self.id);
    }
}

type Server = State<std::sync::Weak<Runtime>>;

fn door(server: &Server, id: u64) -> Option<(Arc<Runtime>, Arc<Door>)> {
    let runtime = server.upgrade()?;
    let door = lock(&runtime.doors).get(&id).cloned()?;
    Some((runtime, door))
}

async fn next(server: Server, Path(id): Path<u64>) -> Response {
    let Some((_, door)) = door(&server, id) else {
        return StatusCode::GONE.into_response();
    };
    let Some((invocation, deadline)) = door.requests.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let deadline = deadline.duration_since(UNIX_EPOCH).unwrap_or_default();
    let arn = format!(
        "arn:aws:lambda:us-east-1:000000000000:function:{}",
        door.function
    );
    let headers = [
        ("lambda-runtime-aws-request-id", invocation.id),
        (
            "lambda-runtime-deadline-ms",
            deadline.as_millis().to_string(),
        ),
        ("lambda-runtime-invoked-function-arn", arn),
        ("lambda-runtime-trace-id", invocation.trace),
        ("content-type", "application/json".to_owned()),
    ];
    (headers, invocation.event).into_response()
}

async fn answer(
    server: Server,
    Path((id, request, kind)): Path<(u64, String, String)>,
    body: Bytes,
) -> StatusCode {
    let Some((runtime, door)) = door(&server, id) else {
        return StatusCode::GONE;
    };
    let passed = runtime
        .gateway
        .answer(&door.function, &request, &kind, body)
        .await;
    let _ = door.answered.send(()); // nobody waits any more after a timeout
    passed.map_or(StatusCode::BAD_GATEWAY, |()| StatusCode::ACCEPTED)
}
