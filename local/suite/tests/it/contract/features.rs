//! Tests that nothing is compiled twice.

use std::{collections::BTreeSet, process::Command};

use local_stack::machine::workspace::root;

use super::workspace::WORKSPACE;

/// A package whose features differ would be compiled once for `cargo local`, and again, with its dependents, for the
/// functions.
#[test]
fn building_the_functions_and_then_the_tests_compiles_no_package_again() {
    let own = packages(&["--package=local-stack", "--edges=normal,build"]);
    let functions = packages(&["--workspace", "--edges=normal,build"]);
    let tests = packages(&["--workspace", "--edges=normal,build,dev"]);
    for (before, after) in [(&own, &functions), (&functions, &tests)] {
        let again: Vec<_> = before.difference(after).collect();
        assert!(again.is_empty(), "give `local-stack` their features: {again:#?}");
    }
}

/// A release build takes minutes. What is compiled for one function has to do for every other, for `cargo lambda
/// build`, which selects the default members, and for the benchmark.
#[test]
fn a_release_of_one_function_compiles_nothing_that_a_release_of_all_would_not() {
    let all = packages(&["--edges=normal,build"]);
    for function in WORKSPACE.functions.keys() {
        let one = packages(&["--edges=normal,build", "--package", function, "--package=hello"]);
        let again: Vec<_> = one.difference(&all).filter(|package| !package.starts_with("hello ")).collect();
        assert!(again.is_empty(), "{function} asks other features: {again:#?}");
    }
}

/// Lists the packages with their features that cargo compiles for a selection.
fn packages(selection: &[&str]) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--prefix=none", "--offline"])
        .arg("--format={p} {f}")
        .args(selection)
        .current_dir(root()) // where cargo selects the default members
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{tree:?}");
    let text = String::from_utf8(tree.stdout).expect("cargo writes text");
    // A package that was named before has a star.
    let lines = text.lines().map(|line| line.trim_end_matches(" (*)"));
    lines.map(|line| line.trim_end().to_owned()).collect()
}
