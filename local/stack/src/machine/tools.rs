//! Installs the programs of the local stack: Python packages in virtual environments below `target/`, installed once.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::machine::{process, progress::Step};

/// The programs that the stack runs. Bytecode is written for what is started, not for all of it.
pub const STACK: Packages = Packages {
    directory: "local/tools",
    arguments: &["--no-deps", "--no-compile"],
    requirements: include_str!("../../python/stack.txt"),
    title: "Installing Postgres, MiniStack and cargo-lambda (once)",
};

/// A server for machines that have no Redis. Few need it, so it is apart.
pub const VALKEY: Packages = Packages {
    directory: "local/valkey",
    arguments: &[],
    requirements: include_str!("../../python/valkey.txt"),
    title: "Installing Valkey (once)",
};

/// Python packages that go together.
pub struct Packages {
    /// Their virtual environment, below `target/`.
    pub directory: &'static str,
    /// More arguments for pip.
    pub arguments: &'static [&'static str],
    /// What pip is to install, as its own files say it.
    pub requirements: &'static str,
    /// What the progress bar says meanwhile.
    pub title: &'static str,
}

/// A copy of the requirements, written when everything is installed.
const INSTALLED: &str = "installed.txt";

/// Fails on a Python that is too old or comes without the modules that make a virtual environment.
const CHECK: &str = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";

/// The installed programs.
pub struct Tools {
    directory: PathBuf,
}

impl Tools {
    /// Installs packages, unless that was done. Two that start at once do it once.
    pub async fn install(target: &Path, packages: &Packages) -> Result<Self> {
        let directory = target.join(packages.directory);
        let installed = || {
            let known = fs::read_to_string(directory.join(INSTALLED));
            known.is_ok_and(|known| known == packages.requirements)
        };
        if !installed() {
            let lock = lock(&directory.with_extension("lock")).await?;
            if !installed() {
                install(&directory, packages).await?;
            }
            drop(lock);
        }
        Ok(Self { directory })
    }

    /// Returns the path of a program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join("bin").join(name)
    }

    /// Finds the packages' files.
    pub fn packages(&self) -> Result<PathBuf> {
        let lib = self.directory.join("lib");
        let python = fs::read_dir(&lib)
            .with_context(|| format!("cannot read {}", lib.display()))?
            .flatten()
            .map(|entry| entry.path().join("site-packages"))
            .find(|packages| packages.is_dir());
        python.with_context(|| {
            let directory = self.directory.display();
            format!("{directory} is damaged; remove it, and it is installed again")
        })
    }

    /// Returns a place for data that is prepared once for these versions of the programs.
    pub fn cache(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Waits for the lock without blocking the runtime; it is held until the file is dropped.
async fn lock(path: &Path) -> Result<File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await?.context("cannot lock the tools")
}

async fn install(directory: &Path, packages: &Packages) -> Result<()> {
    let step = Step::begin(packages.title);
    if let Err(error) = process::run(Command::new("python3").args(["-c", CHECK])).await {
        bail!(
            "the local stack needs `python3` 3.10 or newer with its modules `venv` and `ensurepip` \
             (on Debian: apt install python3-venv): {error:#}"
        );
    }
    if directory.exists() {
        fs::remove_dir_all(directory)?; // of other versions, or interrupted
    }
    process::run(Command::new("python3").args(["-m", "venv"]).arg(directory)).await?;

    let requirements = directory.join("requirements.txt");
    fs::write(&requirements, packages.requirements)?;
    let mut pip = Command::new(directory.join("bin/python"))
        .args(["-m", "pip", "install", "--no-input", "--disable-pip-version-check", "-r"])
        .arg(&requirements)
        .args(packages.arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = pip.stdout.take().context("pip has no output")?;
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next_line().await? {
        step.show(line.trim());
    }
    let end = pip.wait_with_output().await?;
    if !end.status.success() {
        let errors = String::from_utf8_lossy(&end.stderr);
        bail!("pip cannot install the local stack ({}):\n{errors}", end.status);
    }
    fs::write(directory.join(INSTALLED), packages.requirements)?;
    step.done();
    Ok(())
}
