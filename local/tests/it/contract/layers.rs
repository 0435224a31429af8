//! Tests that `local` stays in layers, and quick to compile.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The modules of `local` in the order of `lib.rs`: each uses only those before it.
const LAYERS: [&str; 14] = [
    "machine",
    "keys",
    "settings",
    "stand_ins",
    "services",
    "lambda",
    "system",
    "deployment",
    "harness",
    "chaos",
    "bench",
    "load",
    "demo",
    "reference",
];

#[test]
fn a_module_of_local_uses_only_modules_above_it() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&sources, &mut files);
    let mut uses = 0;
    for file in files {
        let module = file.strip_prefix(&sources).unwrap().iter().next().unwrap();
        let module = Path::new(module).file_stem().unwrap().to_str().unwrap();
        let Some(layer) = LAYERS.iter().position(|layer| *layer == module) else {
            assert!(["lib", "main", "commands"].contains(&module), "{module} has no layer");
            continue;
        };
        for used in used(&fs::read_to_string(&file).unwrap()) {
            let below = LAYERS.iter().position(|layer| *layer == used);
            let below = below.unwrap_or_else(|| panic!("{} uses {used}", file.display()));
            assert!(below <= layer, "{} uses {used}, which stands below it", file.display());
            uses += 1;
        }
    }
    assert!(uses > 50, "{uses} uses are too few: they are not found any more");
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// Finds the modules that a file names behind `crate::`, alone or in braces.
fn used(source: &str) -> BTreeSet<&str> {
    let mut used = BTreeSet::new();
    for part in source.split("crate::").skip(1) {
        let Some(braces) = part.strip_prefix('{') else {
            used.insert(word(part));
            continue;
        };
        let mut depth = 0;
        let mut begins = true;
        for (index, character) in braces.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                _ if begins && !character.is_whitespace() => {
                    used.insert(word(&braces[index..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    used
}

fn word(text: &str) -> &str {
    let end = text.find(|character: char| !character.is_alphanumeric() && character != '_');
    &text[..end.unwrap_or(text.len())]
}

#[test]
fn uses_are_found_alone_and_in_braces() {
    let source = "use crate::system::System;\nuse crate::{\n    chaos::{a, b},\n    demo,\n};";
    assert_eq!(used(source), ["chaos", "demo", "system"].into());
}

/// A package whose features differ would be compiled once for `cargo local`, and again, with its dependents, for the
/// functions.
#[test]
fn building_the_functions_and_then_the_tests_compiles_no_package_again() {
    let own = packages(&["--package", "local"]);
    let all = packages(&["--workspace"]);
    let tests = packages(&["--workspace", "--features", "local/workbench"]);
    for (before, after) in [(&own, &all), (&all, &tests)] {
        let again = before.difference(after);
        let again: Vec<_> = again.filter(|it| !it.starts_with("local ")).collect();
        assert!(again.is_empty(), "give `local` their features: {again:#?}");
    }
}

/// Lists the packages with their features that cargo compiles for a selection.
fn packages(selection: &[&str]) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--edges=normal,build", "--prefix=none", "--offline"])
        .arg("--format={p} {f}")
        .args(selection)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{tree:?}");
    let text = String::from_utf8(tree.stdout).expect("cargo writes text");
    // A package that was named before has a star.
    let lines = text.lines().map(|line| line.trim_end_matches(" (*)"));
    lines.map(|line| line.trim_end().to_owned()).collect()
}
