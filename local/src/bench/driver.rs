//! The benchmark's own Runtime API: it hands a process one event at a time and sees when it asks for the next, so that
//! start-up and requests are timed where they arise, with no gateway in between.
//!
//! See <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>.

use std::{
    collections::HashMap,
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use axum::{
    body::Bytes,
    extract::{Path as UrlPath, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
    time::timeout,
};

use crate::{
    lambda::runtime_api::routes,
    machine::{lock, ports::Port, process::Group},
    settings::Variables,
};

/// What a process may take for its start or a request.
const PATIENCE: Duration = Duration::from_mins(1);

/// The time that an event says is left: as much as the consumer has on AWS, which hands over when it gets short.
const TIME_LEFT: Duration = Duration::from_mins(3);

/// The server.
pub struct Driver {
    address: String,
    doors: Arc<Doors>,
    count: AtomicU64,
    group: Group,
    _server: JoinSet<()>,
}

type Doors = Mutex<HashMap<u64, Arc<Door>>>;

/// Where one process comes for events and brings answers.
struct Door {
    asked: UnboundedSender<Instant>,
    events: tokio::sync::Mutex<UnboundedReceiver<String>>,
    answered: UnboundedSender<Answer>,
}

struct Answer {
    at: Instant,
    failed: bool,
    body: Bytes,
}

/// A process that serves requests. It is killed when this is dropped.
pub struct Environment {
    process: Child,
    function: String,
    started: Instant,
    asked: UnboundedReceiver<Instant>,
    events: UnboundedSender<String>,
    answers: UnboundedReceiver<Answer>,
}

/// An answer, and how long it took from handing out the request.
pub struct Answered {
    pub time: Duration,
    pub body: Value,
}

impl Driver {
    /// Serves on a free port.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::from_std(Port::Free.listen()?)?;
        let address = listener.local_addr()?.to_string();
        let doors = Arc::<Doors>::default();
        let routes = routes(get(next), post(answer)).with_state(doors.clone());
        let mut server = JoinSet::new();
        server.spawn(async move {
            let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
            let _ = axum::serve(listener, routes).await; // serves until it is aborted
        });
        Ok(Self {
            address,
            doors,
            count: AtomicU64::default(),
            group: Group::new(None)?,
            _server: server,
        })
    }

    /// Starts a function as Lambda does: with its variables and no others. What it prints goes to `log`.
    pub fn launch(
        &self,
        function: &str,
        binary: &Path,
        variables: &Variables,
        log: std::fs::File,
    ) -> Result<Environment> {
        let id = self.count.fetch_add(1, Ordering::Relaxed);
        let (asked, asks) = unbounded_channel();
        let (give, events) = unbounded_channel();
        let (answered, answers) = unbounded_channel();
        let door = Door {
            asked,
            events: tokio::sync::Mutex::new(events),
            answered,
        };
        lock(&self.doors).insert(id, Arc::new(door));
        let mut command = Command::new(binary);
        command
            .env_clear()
            .envs(variables)
            .env(
                "AWS_LAMBDA_RUNTIME_API",
                format!("http://{}/{id}", self.address),
            )
            .env("AWS_LAMBDA_FUNCTION_NAME", function)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(log);
        let started = Instant::now();
        Ok(Environment {
            process: self.group.spawn(&mut command)?,
            function: function.to_owned(),
            started,
            asked: asks,
            events: give,
            answers,
        })
    }
}

impl Environment {
    /// Waits until the process asks for its first event, and says how long that took from its start.
    pub async fn ready(&mut self) -> Result<Duration> {
        Ok(self.asks().await? - self.started)
    }

    /// Has the process serve a request, and waits until it asks for the next. What fails or answers with an error's
    /// status is an error: nobody wants to know how fast that is.
    pub async fn invoke(&mut self, event: &Value) -> Result<Answered> {
        let event = event.to_string();
        let given = Instant::now();
        self.events.send(event).context("the driver is gone")?;
        let answer = tokio::select! {
            answer = timeout(PATIENCE, self.answers.recv()) => answer.ok().flatten(),
            _ = self.process.wait() => None,
        };
        let answer = answer.with_context(|| format!("{} does not answer", self.function))?;
        let body: Value = serde_json::from_slice(&answer.body)
            .with_context(|| format!("{} did not answer JSON", self.function))?;
        let refused = body["statusCode"]
            .as_u64()
            .is_some_and(|status| status >= 400);
        let unhandled = body["batchItemFailures"]
            .as_array()
            .is_some_and(|failures| !failures.is_empty());
        if answer.failed || refused || unhandled {
            bail!("{} failed: {body}", self.function);
        }
        self.asks().await?;
        Ok(Answered {
            time: answer.at - given,
            body,
        })
    }

    /// The process's id.
    pub fn pid(&self) -> Result<u32> {
        self.process.id().context("the process has ended")
    }

    async fn asks(&mut self) -> Result<Instant> {
        let asked = tokio::select! {
            asked = timeout(PATIENCE, self.asked.recv()) => asked.ok().flatten(),
            _ = self.process.wait() => None,
        };
        asked.with_context(|| format!("{} does not ask for a request", self.function))
    }
}

fn door(doors: &Doors, id: u64) -> Option<Arc<Door>> {
    lock(doors).get(&id).cloned()
}

async fn next(State(doors): State<Arc<Doors>>, UrlPath(id): UrlPath<u64>) -> Response {
    let asked = Instant::now();
    let Some(door) = door(&doors, id) else {
        return StatusCode::GONE.into_response();
    };
    let _ = door.asked.send(asked);
    let Some(event) = door.events.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let deadline = SystemTime::now() + TIME_LEFT;
    let deadline = deadline.duration_since(UNIX_EPOCH).unwrap_or_default();
    let headers = [
        ("lambda-runtime-aws-request-id", id.to_string()),
        (
            "lambda-runtime-deadline-ms",
            deadline.as_millis().to_string(),
        ),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:us-east-1:000000000000:function:bench".to_owned(),
        ),
        (
            "lambda-runtime-trace-id",
            "Root=1-00000000-000000000000000000000000".to_owned(),
        ),
        ("content-type", "application/json".to_owned()),
    ];
    (headers, event).into_response()
}

async fn answer(
    State(doors): State<Arc<Doors>>,
    UrlPath((id, _, kind)): UrlPath<(u64, String, String)>,
    body: Bytes,
) -> StatusCode {
    let at = Instant::now();
    let Some(door) = door(&doors, id) else {
        return StatusCode::GONE;
    };
    let failed = kind != "response";
    let _ = door.answered.send(Answer { at, failed, body });
    StatusCode::ACCEPTED
}
