//! Tests that a limit has the same name in the code, in the contract, and in the table of `docs/clients.md`.

use std::{collections::BTreeSet, fs, path::Path};

use local_stack::machine::workspace::root;
use local_suite::harness::contract::CONTRACT;

use super::workspace::array;

/// Adds what `policy: "…"` names in the files of a folder, tests left out.
fn policies(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            policies(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            // Written out where the limit is made, so that it is found here.
            assert!(!code.contains("{ policy,"), "{}", path.display());
            let names = code.split("policy: \"").skip(1).filter_map(|rest| rest.split('"').next());
            // One without a name lends its bound to limits that have one.
            found.extend(names.filter(|name| !name.is_empty()).map(str::to_owned));
        }
    }
}

#[test]
fn the_contract_and_the_documentation_name_every_limit_and_no_other() {
    let mut code = BTreeSet::new();
    policies(&root().join("shared/src"), &mut code);
    policies(&root().join("functions"), &mut code);
    assert!(code.len() > 10, "the limits were found: {code:?}");

    let contract = array(&CONTRACT.document["components"]["schemas"]["Policy"]["enum"]);
    let contract: BTreeSet<_> = contract.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    assert_eq!(contract, code);

    let text = fs::read_to_string(root().join("docs/clients.md")).unwrap();
    let (_, table) = text.split_once("| Policy |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let rows = table.lines().filter_map(|row| row.strip_prefix("| `"));
    let documented: Vec<_> = rows.filter_map(|row| row.split('`').next()).collect();
    let once: BTreeSet<_> = documented.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(once, code);
    assert_eq!(documented.len(), once.len(), "each stands once: {documented:?}");
}
