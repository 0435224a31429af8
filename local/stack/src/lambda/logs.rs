//! Writes the functions' output into a file for each, and to standard error when somebody watches.

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::Result;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::watch,
};

use crate::machine::{lock, process::log_file};

/// The number of lines shown when a process ended.
const LAST_LINES: usize = 15;

/// The logs of one system.
pub struct Logs {
    directory: PathBuf,
    shown: AtomicBool,
    silent: AtomicBool,
    panic: watch::Sender<String>,
    functions: Mutex<HashMap<String, Log>>,
}

struct Log {
    file: File,
    last: VecDeque<String>,
}

impl Logs {
    /// Makes a directory for the logs.
    pub fn below(directory: &Path) -> Result<Arc<Self>> {
        std::fs::create_dir_all(directory)?;
        Ok(Arc::new(Self {
            directory: directory.to_owned(),
            shown: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            panic: watch::Sender::default(),
            functions: Mutex::default(),
        }))
    }

    /// Prints lines too, or stops that.
    pub fn show(&self, shown: bool) {
        self.shown.store(shown, Ordering::Relaxed);
    }

    /// Prints a remark of the stack itself.
    pub fn announce(&self, text: &str) {
        if !self.silent.load(Ordering::Relaxed) {
            eprintln!("{text}");
        }
    }

    /// Prints nothing any more.
    pub fn silence(&self) {
        self.shown.store(false, Ordering::Relaxed);
        self.silent.store(true, Ordering::Relaxed);
    }

    /// Returns where the files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Waits until some function panics, and returns its name with what it panicked at.
    pub fn panic(&self) -> impl Future<Output = Option<String>> + Send + use<> {
        let mut panic = self.panic.subscribe();
        async move { panic.wait_for(|said| !said.is_empty()).await.ok().map(|said| said.clone()) }
    }

    /// Starts a program of a function and follows its output.
    pub fn follow(
        self: &Arc<Self>,
        function: &str,
        command: &mut Command,
        start: impl FnOnce(&mut Command) -> Result<Child>,
    ) -> Result<Child> {
        if !lock(&self.functions).contains_key(function) {
            let (_, file) = log_file(&self.directory, function)?;
            let last = VecDeque::with_capacity(LAST_LINES);
            lock(&self.functions).insert(function.to_owned(), Log { file, last });
        }
        let mut process = start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
        if let Some(output) = process.stdout.take() {
            tokio::spawn(self.clone().copy(function.to_owned(), output));
        }
        if let Some(output) = process.stderr.take() {
            tokio::spawn(self.clone().copy(function.to_owned(), output));
        }
        Ok(process)
    }

    /// Returns the last lines of a function.
    pub fn last_lines(&self, function: &str) -> String {
        let functions = lock(&self.functions);
        let lines = functions.get(function).map(|log| log.last.iter().cloned().collect::<Vec<_>>());
        lines.unwrap_or_default().join("\n")
    }

    async fn copy(self: Arc<Self>, function: String, output: impl AsyncRead + Unpin) {
        let mut lines = BufReader::new(output).lines();
        let mut panicked = None;
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(place) = panicked.take() {
                self.panic.send_replace(format!("{function}: {place} {line}"));
            }
            if line.contains(" panicked at ") {
                panicked = Some(line.clone()); // the next line says why
            }
            if self.shown.load(Ordering::Relaxed) {
                eprintln!("{function}: {line}");
            }
            if let Some(log) = lock(&self.functions).get_mut(&function) {
                let _ = writeln!(log.file, "{line}"); // a full disk is no reason to stop
                if log.last.len() == LAST_LINES {
                    log.last.pop_front();
                }
                log.last.push_back(line);
            }
        }
    }
}
