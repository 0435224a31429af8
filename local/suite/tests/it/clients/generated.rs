//! A conversation through each generated client, whose types are checked.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use local_suite::harness::Stack;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use super::{Workshop, succeed, typescript};

on!(sqs:
    hey_api_has_a_conversation_and_types_its_events,
    openapi_generator_has_a_conversation_in_java,
    openapi_generator_has_a_conversation_in_python,
    openapi_python_client_has_a_conversation,
    openapi_typescript_has_a_conversation,
);

const ECHO: &str = "the reply is: echo: Which tram goes to Belém?";

#[test]
fn the_document_names_the_versions_that_are_tested() {
    let document = include_str!("../../../../../docs/clients.md");
    let requirements = include_str!("../../../python/clients.txt").lines();
    for requirement in requirements.filter(|line| line.starts_with("openapi-")) {
        assert!(document.contains(requirement), "{requirement}");
    }
    let packages: Value = serde_json::from_str(include_str!("../../../clients/package.json")).unwrap();
    for (name, between) in [("openapi-typescript", "@"), ("@hey-api/openapi-ts", "` ")] {
        let version = packages["devDependencies"][name].as_str().unwrap();
        assert!(document.contains(&format!("{name}{between}{version}")), "{name} {version}");
    }
}

/// Runs a conversation with the system, which ends with its reply.
async fn converse(stack: &Stack, flow: &mut Command) {
    let printed = succeed(flow.env("API_URL", &stack.url).env("MOBILE", stack.mobile())).await;
    assert!(printed.contains(ECHO), "{printed}");
}

pub async fn openapi_typescript_has_a_conversation(stack: &Stack) {
    let workshop = Workshop::open().await;
    let folder = typescript::folder(&workshop).await;
    converse(stack, &mut workshop.node(&folder.join("flow.ts"))).await;
}

pub async fn hey_api_has_a_conversation_and_types_its_events(stack: &Stack) {
    let workshop = Workshop::open().await;
    let folder = typescript::folder(&workshop).await;
    converse(stack, &mut workshop.node(&folder.join("out/hey-flow.js"))).await;
}

pub async fn openapi_python_client_has_a_conversation(stack: &Stack) {
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
    converse(stack, workshop.command("python").arg(&flow)).await;
}

pub async fn openapi_generator_has_a_conversation_in_python(stack: &Stack) {
    let Some(generator) = Generator::find().await else { return };
    stack.script(&json!([{ "match": "refused in Python", "block": "SAFETY" }])).await;
    generator.generate("python", &[]).await;
    let flow = generator.folder.path().join("flow.py");
    let source = generator.workshop.root.join("local/suite/python/clients/generator_flow.py");
    fs::copy(source, &flow).unwrap();
    converse(stack, generator.workshop.command("python").arg(&flow)).await;
}

pub async fn openapi_generator_has_a_conversation_in_java(stack: &Stack) {
    let Some(generator) = Generator::find().await else { return };
    stack.script(&json!([{ "match": "refused in Java", "block": "SAFETY" }])).await;
    // The generator's own jar has Jackson, which is all that such a client needs.
    let properties = "openApiNullable=false,hideGenerationTimestamp=true";
    generator.generate("java", &["--library", "native", "--additional-properties", properties]).await;
    let sources = generator.workshop.root.join("local/suite/clients/java");
    let mut files = java_files(&generator.folder.path().join("src/main"));
    files.extend(java_files(&sources));
    let classes = generator.folder.path().join("classes");
    let mut compile = Command::new("javac");
    compile.args(["-nowarn", "-encoding", "UTF-8", "-cp"]).arg(&generator.jar).arg("-d").arg(&classes).args(files);
    succeed(&mut compile).await;
    let mut run = Command::new("java");
    let path = env::join_paths([&classes, &generator.jar]).unwrap();
    run.args(["-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-cp"]).arg(path).arg("Flow");
    converse(stack, &mut run).await;
}

fn java_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { java_files(&path) } else { vec![path] });
    files.filter(|path| path.extension() == Some(OsStr::new("java"))).collect()
}

/// openapi-generator, and where it writes.
struct Generator {
    workshop: Workshop,
    jar: PathBuf,
    folder: TempDir,
}

impl Generator {
    /// Finds the generator, which needs Java. Without Java, the clients are not tested; where everything must be tested
    /// (`CI=true`), that is an error.
    async fn find() -> Option<Self> {
        for program in ["java", "javac"] {
            let found = Command::new(program).arg("-version").output().await;
            if let Err(error) = found {
                let missing = format!("openapi-generator is not tested, since `{program}` cannot be run: {error}");
                assert!(env::var("CI").as_deref() != Ok("true"), "{missing}");
                eprintln!("{missing}");
                return None;
            }
        }
        let workshop = Workshop::open().await;
        let jar = workshop.tools.packages().unwrap().join("openapi_generator_cli/openapi-generator.jar");
        Some(Self { workshop, jar, folder: TempDir::new().unwrap() })
    }

    async fn generate(&self, language: &str, options: &[&str]) {
        let mut generate = Command::new("java");
        generate.arg("-jar").arg(&self.jar).args(["generate", "-g", language]).args(options);
        generate.arg("-i").arg(self.workshop.contract()).arg("-o").arg(self.folder.path());
        succeed(&mut generate).await;
    }
}
