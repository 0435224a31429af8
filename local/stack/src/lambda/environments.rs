//! Runs the functions as Lambda does: each in execution environments of its own, which are started by the first
//! request that finds none idle, serve one request at a time, and are replaced when they die, when they take too long,
//! or when their binary was built again.
//!
//! `cargo lambda watch` routes requests to queues by function, but it has no part in the processes: it gives no true
//! deadline, and a request whose process died is never answered. So the processes talk to [`RuntimeApi`], and their
//! responses are passed on to the gateway.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitStatus,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use anyhow::{Result, bail};
use axum::body::Bytes;
use futures_util::{StreamExt, stream::poll_fn};
use tokio::{
    process::Command,
    sync::{
        Semaphore,
        mpsc::{UnboundedSender, unbounded_channel},
    },
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    lambda::{
        api_gateway::Gateway,
        functions::{self, Catalogue},
        logs::Logs,
        runtime_api::{Environment, FunctionResponse, Invocation, Report, RuntimeApi},
    },
    machine::{lock, process::Group, workspace::Workspace},
    settings::Variables,
};

/// How many requests of a function are fetched from the gateway at once: each takes a round trip.
const FETCHES: usize = 8;

/// What a function was started with and what its environments share.
struct Function {
    name: String,
    timeout: Duration,
    workspace: Workspace,
    variables: Variables,
    gateway: Arc<Gateway>,
    runtime_api: Arc<RuntimeApi>,
    group: Arc<Group>,
    logs: Arc<Logs>,
    idle: Mutex<Vec<Idle>>,
    busy: Mutex<BTreeSet<u32>>,
}

struct Idle {
    environment: Environment,
    built: Option<SystemTime>,
}

/// Every function of the workspace.
pub struct Functions {
    functions: BTreeMap<String, Arc<Function>>,
    _tasks: JoinSet<()>,
}

impl Functions {
    /// Serves the requests of every function in the catalogue.
    pub fn start(
        workspace: &Workspace,
        catalogue: &Catalogue,
        variables: &Variables,
        gateway: &Arc<Gateway>,
        runtime_api: &Arc<RuntimeApi>,
        group: &Arc<Group>,
        logs: &Arc<Logs>,
    ) -> Result<Self> {
        let mut functions = BTreeMap::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(gateway.clone().refuse_unknown_routes());
        for (name, functions::Function { timeout, facts, .. }) in catalogue.iter() {
            if !workspace.binary(name).is_file() {
                bail!("{name} is not built: `cargo local test` and `cargo local exec` build before they start");
            }
            let function = Arc::new(Function {
                timeout: *timeout,
                workspace: workspace.clone(),
                variables: variables.clone(),
                gateway: gateway.clone(),
                runtime_api: runtime_api.clone(),
                group: group.clone(),
                logs: logs.clone(),
                idle: Mutex::default(),
                busy: Mutex::default(),
                name: name.to_owned(),
            });
            let free = Arc::new(Semaphore::new(facts.environments));
            for _ in 0..FETCHES.min(facts.environments) {
                tasks.spawn(function.clone().serve(free.clone()));
            }
            functions.insert(name.to_owned(), function);
        }
        Ok(Self { functions, _tasks: tasks })
    }

    /// Returns the processes of a function, idle or busy. None before its first request.
    pub fn pids(&self, function: &str) -> Vec<u32> {
        self.functions.get(function).map(|function| function.pids()).unwrap_or_default()
    }
}

/// Why an invocation has no response.
enum Failure {
    Exited(ExitStatus),
    TimedOut(Duration),
    NotStarted(anyhow::Error),
    NotRead(anyhow::Error),
}

impl Function {
    /// Takes a request whenever an environment may serve one.
    async fn serve(self: Arc<Self>, free: Arc<Semaphore>) {
        let mut requests = JoinSet::new();
        while let Ok(permit) = free.clone().acquire_owned().await {
            match self.gateway.next(&self.name).await {
                Ok(invocation) => {
                    let function = self.clone();
                    requests.spawn(async move {
                        function.answer(invocation).await;
                        drop(permit);
                    });
                }
                Err(_) => sleep(Duration::from_millis(100)).await, // the gateway is stopping or starting
            }
            while requests.try_join_next().is_some() {}
        }
    }

    /// Executes an invocation, and reports to the gateway why one failed.
    async fn answer(&self, invocation: Invocation) {
        let id = invocation.id.clone();
        let (kind, message) = match self.execute(invocation).await {
            Ok(()) => return,
            Err(Failure::Exited(status)) => {
                ("Runtime.ExitError", format!("RequestId: {id} Error: Runtime exited: {status}"))
            }
            Err(Failure::TimedOut(limit)) => {
                let seconds = limit.as_secs_f32();
                ("Sandbox.Timedout", format!("RequestId: {id} Error: Task timed out after {seconds:.2} seconds"))
            }
            Err(Failure::NotStarted(error)) => ("Runtime.InvalidEntrypoint", format!("{error:#}")),
            Err(Failure::NotRead(error)) => ("Function.ResponseSizeTooLarge", format!("{error:#}")),
        };
        sleep(Duration::from_millis(20)).await; // its last words may still be on their way
        let last_words = self.logs.last_lines(&self.name);
        self.logs.announce(&format!("{}: {message}\n{last_words}", self.name));
        let _ = self.gateway.fail(&self.name, &id, kind, &message).await;
    }

    async fn execute(&self, invocation: Invocation) -> Result<(), Failure> {
        let mut idle = self.environment().await.map_err(Failure::NotStarted)?;
        let pid = idle.environment.process.id().unwrap_or_default();
        lock(&self.busy).insert(pid);
        let limit = self.timeout;
        let id = invocation.id.clone();
        idle.environment.give(invocation, SystemTime::now() + limit);
        let outcome = timeout(limit, self.respond(&id, &mut idle.environment)).await;
        lock(&self.busy).remove(&pid);
        outcome.map_err(|_| Failure::TimedOut(limit))??;
        lock(&self.idle).push(idle);
        Ok(())
    }

    /// Waits for the response and gives it to the gateway.
    async fn respond(&self, id: &str, environment: &mut Environment) -> Result<(), Failure> {
        let mut response = loop {
            match environment.next_report().await {
                Report::Asked(_) => {}
                Report::Responded(response) => break response,
                Report::Exited(Ok(status)) => return Err(Failure::Exited(status)),
                Report::Exited(Err(error)) => return Err(Failure::NotStarted(error.into())),
            }
        };
        if response.is_streamed {
            return self.pass_on(id, response, environment).await;
        }
        let body = response.body().await.map_err(Failure::NotRead)?;
        let passed = self.gateway.answer(&self.name, id, &response.kind, body);
        if passed.await.is_ok() {
            response.accept();
        }
        Ok(())
    }

    /// Passes a response on as it is written. Lambda does not tell a function that its client went away, so the
    /// function is heard out in any case.
    async fn pass_on(
        &self,
        id: &str,
        mut response: FunctionResponse,
        environment: &mut Environment,
    ) -> Result<(), Failure> {
        let (chunks, mut passed) = unbounded_channel();
        let passed = poll_fn(move |context| passed.poll_recv(context));
        tokio::spawn(self.gateway.stream(&self.name, id, passed));
        let mut written = response.chunks();
        let mut head = Vec::new();
        let mut has_head = false;
        while let Some(chunk) = written.next().await {
            match chunk {
                Ok(chunk) if has_head => drop(chunks.send(Ok(chunk))),
                Ok(chunk) => {
                    head.extend_from_slice(&chunk);
                    has_head = send_head(&mut head, &chunks);
                }
                Err(error) => {
                    drop(chunks.send(Err(error.into())));
                    let status = environment.process.wait().await;
                    return Err(status.map_or_else(|error| Failure::NotStarted(error.into()), Failure::Exited));
                }
            }
        }
        response.accept();
        Ok(())
    }

    /// Returns the environment that was used last, or a new one.
    async fn environment(&self) -> Result<Idle> {
        let built = self.built();
        loop {
            let Some(mut idle) = lock(&self.idle).pop() else {
                break;
            };
            if idle.built == built && matches!(idle.environment.process.try_wait(), Ok(None)) {
                return Ok(idle);
            }
        }
        let environment = match self.start() {
            Err(_) if built.is_none() => {
                sleep(Duration::from_secs(1)).await; // cargo is just replacing the binary
                self.start()
            }
            started => started,
        };
        Ok(Idle { environment: environment?, built: self.built() })
    }

    fn start(&self) -> Result<Environment> {
        let mut command = Command::new(self.workspace.binary(&self.name));
        command.current_dir(&self.workspace.root).envs(&self.variables);
        self.runtime_api.launch(&self.name, &mut command, |command| {
            let spawn = |command: &mut Command| self.group.spawn(command);
            self.logs.follow(&self.name, command, spawn)
        })
    }

    fn built(&self) -> Option<SystemTime> {
        let metadata = self.workspace.binary(&self.name).metadata();
        metadata.and_then(|metadata| metadata.modified()).ok()
    }

    fn pids(&self) -> Vec<u32> {
        let mut idle = lock(&self.idle);
        idle.retain_mut(|idle| matches!(idle.environment.process.try_wait(), Ok(None)));
        let idle = idle.iter().filter_map(|idle| idle.environment.process.id());
        idle.chain(lock(&self.busy).iter().copied()).collect()
    }
}

/// Sends the head of a streamed response once it is complete: the gateway expects it, and the eight zeroes that end it,
/// as one chunk each.
fn send_head(written: &mut Vec<u8>, chunks: &UnboundedSender<Result<Bytes>>) -> bool {
    let end = written.windows(8).position(|bytes| bytes == [0; 8]);
    let Some(end) = end else { return false };
    let rest = written.split_off(end + 8);
    let zeroes = written.split_off(end);
    for part in [std::mem::take(written), zeroes, rest] {
        if !part.is_empty() {
            drop(chunks.send(Ok(part.into())));
        }
    }
    true
}
