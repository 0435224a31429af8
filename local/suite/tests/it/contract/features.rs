//! Tests that nothing is compiled twice.

use std::{collections::BTreeSet, process::Command};

use local_stack::machine::workspace::root;

use super::workspace::WORKSPACE;

/// A dependency whose features differ would be compiled once for one command, and again, with its dependents, for the
/// next.
#[test]
fn cargo_local_the_functions_and_any_tests_share_every_dependency() {
    let tests = packages(&["--workspace", "--edges=normal,build,dev"]);
    for selection in [
        ["--package=local-stack", "--edges=normal,build"],
        ["--workspace", "--edges=normal,build"],
        ["--package=local-suite", "--edges=normal,build"],
        ["--package=local-bench", "--edges=normal,build"],
        ["--package=shared", "--edges=normal,build,dev"],
        ["--package=message-stream", "--edges=normal,build,dev"],
        ["--package=migrate", "--edges=normal,build,dev"],
    ] {
        let before = packages(&[&["--package=local-features"], &selection[..]].concat());
        let again: Vec<_> = before.difference(&tests).collect();
        assert!(again.is_empty(), "{selection:?}: give local/features/Cargo.toml their features: {again:#?}");
    }
}

/// A release build takes minutes. What is compiled for one function has to do for every other: `cargo lambda build`
/// selects the default members, the benchmark a few functions. Every function depends on `shared`, which therefore asks
/// alone for whatever all functions ask for.
#[test]
fn a_release_of_one_function_compiles_nothing_that_a_release_of_all_would_not() {
    let shared = packages(&["--package=shared", "--edges=normal,build"]);
    let all = packages(&["--edges=normal,build"]);
    let (functions, others): (Vec<_>, Vec<_>) = all.difference(&shared).partition(|it| it.contains("/functions/"));
    assert_eq!(functions.len(), WORKSPACE.functions.len());
    assert!(others.is_empty(), "give `shared` their features: {others:#?}");
    assert_eq!(shared.difference(&all).count(), 0, "features that `shared` has alone");
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
    let lines = text.lines().filter(|line| !line.is_empty()).map(|line| line.trim_end_matches(" (*)"));
    lines.map(|line| line.trim_end().to_owned()).collect()
}
