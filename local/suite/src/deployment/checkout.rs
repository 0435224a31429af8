//! A checkout in which the commands of the documents are run, from the documents' own text.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use tokio::{process::Command, task::JoinSet};

use local_stack::{
    machine::{
        process,
        tools::{Packages, Tools},
        workspace::Workspace,
    },
    sam::{self, Parameters},
};

/// SAM, the linter of CloudFormation, and AWS's command line.
const PROGRAMS: Packages = Packages {
    directory: "local/sam",
    arguments: &[],
    requirements: include_str!("../../python/sam.txt"),
    title: "Installing SAM (once)",
};

/// A checkout as it is after `cargo lambda build`, with the functions as they were built for the local stack.
pub struct Checkout {
    directory: PathBuf,
    tools: Tools,
}

/// The outcome of commands at a terminal.
pub struct Session {
    /// Everything that they showed.
    pub output: String,
    /// How many questions they asked.
    pub questions: usize,
}

impl Checkout {
    /// Takes the real checkout.
    pub async fn real(workspace: &Workspace) -> Result<Self> {
        let tools = Tools::install(&workspace.target, &PROGRAMS).await?;
        Ok(Self { directory: workspace.root.clone(), tools })
    }

    /// Lays one out in an empty directory.
    pub async fn lay_out(workspace: &Workspace, directory: &Path) -> Result<Self> {
        for file in ["samconfig.toml", "parameters.example.yaml"] {
            fs::copy(workspace.root.join(file), directory.join(file))?;
        }
        let events = directory.join("events");
        fs::create_dir(&events)?;
        for event in fs::read_dir(workspace.root.join("events"))?.flatten() {
            fs::copy(event.path(), events.join(event.file_name()))?;
        }
        // On AWS whoever may send a message may send a batch. MiniStack asks for an action that AWS does not have.
        let template = fs::read_to_string(workspace.root.join("template.yaml"))?;
        let template = template.replace("sqs:SendMessage]", "sqs:SendMessage, sqs:SendMessageBatch]");
        fs::write(directory.join("template.yaml"), template)?;
        lay_out_functions(workspace, directory).await?;
        write_cargo(&directory.join("bin"), &workspace.binary("local"))?;
        let tools = Tools::install(&workspace.target, &PROGRAMS).await?;
        Ok(Self { directory: directory.to_owned(), tools })
    }

    /// Writes the parameters that `cargo local` writes.
    pub fn write_parameters(&self, parameters: &Parameters) -> Result<()> {
        sam::write_parameters(&self.directory.join("target"), parameters)
    }

    /// Makes a command of a program that is installed with SAM.
    pub fn command(&self, program: &str) -> Result<Command> {
        let path = env::var_os("PATH").unwrap_or_default();
        let ours = [self.directory.join("bin"), self.tools.program("")];
        let path: OsString = env::join_paths(ours.into_iter().chain(env::split_paths(&path)))?;
        let mut command = Command::new(program);
        command.current_dir(&self.directory).env("PATH", path).env("SAM_CLI_TELEMETRY", "0");
        Ok(command)
    }

    /// Runs commands in a shell, and returns their output.
    pub async fn run(&self, commands: &str) -> Result<String> {
        process::run(self.command("bash")?.args(["-euo", "pipefail", "-c", commands])).await
    }

    /// Runs commands in a shell at a terminal, where programs ask questions; each is answered with Enter.
    pub async fn run_at_a_terminal(&self, commands: &str, variables: &[(&str, &str)]) -> Result<Session> {
        const TERMINAL: &str = include_str!("../../python/terminal.py");
        let mut python = self.command("python")?;
        let python = python.args(["-c", TERMINAL, "bash", "-euo", "pipefail", "-c", commands]);
        let output = process::run(python.envs(variables.iter().copied())).await?;
        let (output, questions) = output.trim_end().rsplit_once('\n').context("no last line")?;
        Ok(Session { output: output.to_owned(), questions: questions.trim().parse()? })
    }
}

/// Returns the first commands after `title` in a document.
pub fn commands<'a>(document: &'a str, title: &str) -> Result<&'a str> {
    let after = document.split_once(title).with_context(|| format!("the document has no {title}"))?.1;
    let block = after.split_once("```sh\n").and_then(|(_, block)| block.split_once("```"));
    Ok(block.with_context(|| format!("no commands follow {title}"))?.0)
}

/// Puts the binaries of the local stack where `cargo lambda build` would put others.
async fn lay_out_functions(workspace: &Workspace, directory: &Path) -> Result<()> {
    let mut strips = JoinSet::new();
    for function in workspace.functions()? {
        let folder = directory.join("target/lambda").join(&function);
        fs::create_dir_all(&folder)?;
        let binary = workspace.binary(&function);
        strips.spawn(async move {
            // Debug information would be most of what is packed and sent.
            let mut strip = Command::new("strip");
            let strip = strip.arg("-o").arg(folder.join("bootstrap")).arg(binary);
            process::run(strip).await.context("it comes with the C compiler")
        });
    }
    while let Some(stripped) = strips.join_next().await {
        stripped??;
    }
    Ok(())
}

/// Writes a program `cargo` that knows the two commands of the documents. The functions are laid out already.
fn write_cargo(folder: &Path, local: &Path) -> Result<()> {
    fs::create_dir(folder)?;
    let cargo = folder.join("cargo");
    let local = local.display();
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in\n  'local keys') exec '{local}' keys ;;\n  'lambda build --release'*) ;;\n  \
         *) echo \"cargo $*: no command of the documents\" >&2; exit 1 ;;\nesac\n"
    );
    fs::write(&cargo, text)?;
    Ok(fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_after_a_title_are_those_of_the_next_block() {
        let document = "```sh\none\n```\n## Here\nSo:\n\n```sh\ntwo\nthree\n```\n```sh\nfour\n```\n";
        assert_eq!(commands(document, "## Here").unwrap(), "two\nthree\n");
        assert!(commands(document, "## There").is_err());
        assert!(commands("## Here\nNothing.", "## Here").is_err());
    }
}
