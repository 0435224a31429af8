//! Finds the workspace's functions and their binaries, and builds them.

use std::{
    env,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use notify_debouncer_mini::{DebounceEventResult, new_debouncer, notify::RecursiveMode};
use rustix::process::{Pid, test_kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    sync::mpsc,
};

use crate::machine::{process::Group, progress::Step};

/// Returns the checkout that this was compiled in.
pub fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package)
}

/// The checkout this program was built from, and cargo's target directory.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// The checkout.
    pub root: PathBuf,
    /// Cargo's target directory.
    pub target: PathBuf,
    /// Whether the functions' release builds run instead of their development builds.
    pub release: bool,
}

impl Workspace {
    /// Finds the target directory from where this program is: `target/<profile>/local` or, as a test,
    /// `target/<profile>/deps/<test>`.
    pub fn find() -> Result<Self> {
        let program = env::current_exe()?;
        let target = program
            .ancestors()
            .skip(1)
            .find(|directory| !directory.ends_with("deps"))
            .and_then(Path::parent)
            .context("run the local stack by `cargo local`")?;
        Ok(Self { root: root().to_owned(), target: target.to_owned(), release: false })
    }

    /// Lists the functions, sorted by name.
    pub fn functions(&self) -> Result<Vec<String>> {
        let directory = self.root.join("functions");
        let mut functions: Vec<_> = fs::read_dir(&directory)
            .with_context(|| format!("cannot read {}", directory.display()))?
            .flatten()
            .filter(|entry| entry.path().join("Cargo.toml").is_file())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        functions.sort();
        Ok(functions)
    }

    /// Returns the path of a function's binary.
    pub fn binary(&self, function: &str) -> PathBuf {
        let profile = if self.release { "release" } else { "debug" };
        self.target.join(profile).join(function)
    }

    /// Makes a directory for the logs of this process, and removes those of processes that are gone.
    pub fn logs(&self) -> Result<PathBuf> {
        let all = self.target.join("local/logs");
        let own = all.join(std::process::id().to_string());
        fs::create_dir_all(&own).with_context(|| format!("cannot make {}", own.display()))?;
        for entry in fs::read_dir(&all)?.flatten() {
            let process = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if process.and_then(Pid::from_raw).is_some_and(|pid| test_kill_process(pid).is_err()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(own)
    }

    /// Begins a command of cargo.
    pub fn cargo(&self, command: &str) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.arg(command).arg("--target-dir").arg(&self.target).current_dir(&self.root);
        forget_cargo_run(&mut cargo);
        cargo
    }

    /// Builds every function and shows what is being compiled.
    ///
    /// Cargo compiles the dependencies again for a selection of packages that asks other features of them. Development
    /// builds share them with the tests, so they select the whole workspace. Release builds are the deployed ones, for
    /// which any choice of functions asks the same features: see [`build_packages`](Self::build_packages).
    pub async fn build(&self) -> Result<()> {
        let functions = self.functions()?;
        let functions: Vec<_> = functions.iter().map(String::as_str).collect();
        if self.release {
            return self.build_packages(&functions).await;
        }
        let binaries = functions.iter().flat_map(|function| ["--bin", *function]);
        self.compile(&["--workspace"].into_iter().chain(binaries).collect::<Vec<_>>()).await
    }

    /// Builds some packages as they are deployed: without the features that `local` asks of their dependencies.
    pub async fn build_packages(&self, packages: &[&str]) -> Result<()> {
        let packages = packages.iter().flat_map(|package| ["--package", *package]);
        self.compile(&packages.chain(["--bins"]).collect::<Vec<_>>()).await
    }

    async fn compile(&self, selection: &[&str]) -> Result<()> {
        let step = Step::begin("Compiling the functions");
        let group = Group::new(None)?; // with cargo alone, its compilers would go on
        let mut cargo = group.spawn(
            self.cargo("build").args(selection).args(self.release.then_some("--release")).stderr(Stdio::piped()),
        )?;
        let output = cargo.stderr.take().context("cargo has no output")?;
        let mut lines = BufReader::new(output).lines();
        let mut messages = Vec::new();
        while let Some(line) = lines.next_line().await? {
            step.show(line.trim());
            messages.push(line);
        }
        if cargo.wait().await?.success() {
            step.done();
            return Ok(());
        }
        drop(step);
        bail!("the functions do not compile:\n{}", messages.join("\n"));
    }

    /// Builds whenever a source is saved, until it is dropped. Function processes notice their new binary themselves.
    pub async fn build_on_save(&self) -> Result<()> {
        let (saved, mut saves) = mpsc::channel(1);
        let mut watcher = new_debouncer(Duration::from_millis(100), move |events: DebounceEventResult| {
            let source = |path: &Path| {
                path.extension()
                    .is_some_and(|extension| ["rs", "toml", "sql", "txt"].iter().any(|source| extension == *source))
            };
            if events.is_ok_and(|events| events.iter().any(|event| source(&event.path))) {
                let _ = saved.try_send(()); // one that waits already stands for this one
            }
        })?;
        for directory in ["functions", "shared"] {
            watcher.watcher().watch(&self.root.join(directory), RecursiveMode::Recursive)?;
        }
        while saves.recv().await.is_some() {
            match self.build().await {
                Ok(()) => eprintln!("The functions are up to date."),
                Err(error) => eprintln!("{error:#}"),
            }
        }
        Ok(())
    }
}

/// Writes a file that only its owner can read, and the folders above it.
pub fn write_secret(path: &Path, text: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let _ = fs::remove_file(path); // one that is there might be open to others
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Removes what `cargo run` sets for us. Build scripts of dependencies look at some of it, so another cargo below would
/// build them again, and everything that depends on them.
pub fn forget_cargo_run(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let set_by_run = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        if name.to_str().is_some_and(|name| set_by_run.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(name);
        }
    }
}
