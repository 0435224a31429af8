//! Reads the repository's routes, functions, sample events and template.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::Path,
    process::Command,
    sync::LazyLock,
};

use local_stack::{lambda::functions::Catalogue, machine::workspace::root};
use local_suite::harness::contract::members;
use serde_json::Value;

/// A method and a path that lead to a function.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    pub method: String,
    pub path: String,
    pub function: String,
}

/// The repository's parts.
pub struct Workspace {
    /// The local router's, in the workspace's `Cargo.toml`.
    pub routes: BTreeSet<Route>,
    /// The crates below `functions/`, with the names of their binaries.
    pub functions: BTreeMap<String, BTreeSet<String>>,
    /// The files in `events/`, by their names without `.json`.
    pub events: BTreeMap<String, Value>,
    /// All of `template.yaml`. The short forms of CloudFormation's functions stand as what is in them.
    pub template: Value,
    /// What the local stack reads in it.
    pub catalogue: Catalogue,
}

/// Read once for all tests.
pub static WORKSPACE: LazyLock<Workspace> = LazyLock::new(|| {
    let root = root();
    let metadata = cargo_metadata(root);
    Workspace {
        routes: routes(&metadata["metadata"]["lambda"]["watch"]["router"]),
        functions: functions(root, &metadata),
        events: events(&root.join("events")),
        template: template(&root.join("template.yaml")),
        catalogue: Catalogue::read(root).expect("the template is complete"),
    }
});

fn cargo_metadata(root: &Path) -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(root)
        .output()
        .expect("cargo runs");
    let failure = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {failure}");
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

fn routes(router: &Value) -> BTreeSet<Route> {
    let mut routes = BTreeSet::new();
    for (path, targets) in members(router) {
        for target in array(targets) {
            routes.insert(Route {
                method: text(&target["method"]),
                path: path.clone(),
                function: text(&target["function"]),
            });
        }
    }
    routes
}

/// Lists the functions by folder, so that a crate whose name is not its folder's is found out.
fn functions(root: &Path, metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let crates = fs::read_dir(root.join("functions")).expect("functions/ can be read");
    let folders = crates.map(|entry| entry.expect("functions/ can be read").path());
    let folders = folders.filter(|folder| folder.join("Cargo.toml").exists());
    folders.map(|folder| (name(&folder), binaries(&folder, metadata))).collect()
}

fn binaries(folder: &Path, metadata: &Value) -> BTreeSet<String> {
    let manifest = folder.join("Cargo.toml").canonicalize();
    let manifest = manifest.expect("a manifest has a path");
    array(&metadata["packages"])
        .iter()
        .filter(|package| Path::new(&text(&package["manifest_path"])) == manifest)
        .flat_map(|package| array(&package["targets"]))
        .filter(|target| array(&target["kind"]).contains(&"bin".into()))
        .map(|target| text(&target["name"]))
        .collect()
}

fn events(folder: &Path) -> BTreeMap<String, Value> {
    let files = fs::read_dir(folder).expect("events/ can be read");
    let files = files.map(|entry| entry.expect("events/ can be read").path());
    files
        .map(|file| {
            let event = fs::read(&file).expect("an event can be read");
            let event = serde_json::from_slice(&event);
            (name(&file), event.unwrap_or_else(|error| panic!("{}: {error}", file.display())))
        })
        .collect()
}

fn template(path: &Path) -> Value {
    let text = fs::read_to_string(path).expect("the template can be read");
    serde_saphyr::from_str(&text).expect("the template is YAML")
}

/// Returns a file's name without its extension.
fn name(path: &Path) -> String {
    let name = path.file_stem().and_then(|name| name.to_str());
    name.expect("file names are Unicode").to_owned()
}

/// Returns the elements of an array.
pub fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Reads a value that must be a string.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string")).to_owned()
}
