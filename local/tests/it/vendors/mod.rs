//! The stand-ins satisfy the vendors' own clients: each test here runs one file of `local/python/vendors`.

use std::{fs, process::Output};

use local::{
    machine::{ports::Port, tools::Tools, workspace::Workspace},
    stand_ins::gemini::Gemini,
};
use tokio::process::Command;

/// Runs the cases of a Python file, and fails with their report unless every one of them ran and passed.
async fn pass(file: &str, variables: impl IntoIterator<Item = (String, String)>) {
    let workspace = Workspace::find().unwrap();
    let tools = Tools::install_vendors(&workspace.target).await.unwrap();
    let path = workspace.root.join("local/python/vendors").join(file);
    let cases = fs::read_to_string(&path)
        .unwrap()
        .matches("    def test_")
        .count();
    let mut python = Command::new(tools.program("python"));
    let python = python.arg("-B").arg(&path).arg("-v");
    let python = python.envs(variables).kill_on_drop(true);
    let Output { status, stderr, .. } = python.output().await.unwrap();
    let report = String::from_utf8_lossy(&stderr);
    let all_ran = cases > 0 && report.contains(&format!("\nRan {cases} test"));
    assert!(
        status.success() && all_ran && !report.contains("skipped"),
        "{file}, {cases} cases, {status}:\n{report}"
    );
}

#[tokio::test]
async fn the_gemini_stand_in_satisfies_googles_client() {
    let gemini = Gemini::start(Port::Free).unwrap();
    pass("gemini.py", gemini.variables()).await;
}
