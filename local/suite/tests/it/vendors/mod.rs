//! Tests the stand-ins with the vendors' own clients: each test here runs one file of `local/suite/python/vendors`.

use std::{
    fs,
    process::Output,
    sync::{Arc, Mutex},
};

use axum::{Json, Router, extract::State, http::HeaderMap, routing::get};
use local_stack::{
    machine::{
        http::client,
        lock,
        ports::Port,
        tools::{Packages, Tools},
        workspace::Workspace,
    },
    settings::Settings,
};
use local_stand_ins::{gemini::Gemini, stripe::Reserved};
use serde_json::{Value, json};
use tokio::{net::TcpListener, process::Command};

/// The vendors' own clients.
const CLIENTS: Packages = Packages {
    directory: "local/vendors",
    arguments: &[],
    requirements: include_str!("../../../python/vendors.txt"),
    title: "Installing the vendors' clients (once)",
};

/// Runs the cases of a Python file, and fails with their report unless every one of them ran and passed.
async fn pass(file: &str, variables: impl IntoIterator<Item = (String, String)>) {
    let workspace = Workspace::find().unwrap();
    let tools = Tools::install(&workspace.target, &CLIENTS).await.unwrap();
    let path = workspace.root.join("local/suite/python/vendors").join(file);
    let cases = fs::read_to_string(&path).unwrap().matches("    def test_").count();
    let mut python = Command::new(tools.program("python"));
    let python = python.arg("-B").arg(&path).arg("-v");
    let python = python.envs(variables).kill_on_drop(true);
    let Output { status, stderr, .. } = python.output().await.unwrap();
    let report = String::from_utf8_lossy(&stderr);
    let all_ran = cases > 0 && report.contains(&format!("\nRan {cases} test"));
    assert!(status.success() && all_ran && !report.contains("skipped"), "{file}, {cases} cases, {status}:\n{report}");
}

/// Serves a webhook that keeps what it gets, each a signature and a body, and gives it to `GET`.
async fn webhook() -> String {
    type Kept = State<Arc<Mutex<Vec<Value>>>>;
    let keep = async |State(kept): Kept, headers: HeaderMap, body: String| {
        let signature = headers["stripe-signature"].to_str().unwrap();
        lock(&kept).push(json!({ "signature": signature, "body": body }));
    };
    let give = async |State(kept): Kept| Json(lock(&kept).clone());
    let routes = Router::new().route("/", get(give).post(keep));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, routes.with_state(Arc::default())).into_future());
    url
}

#[tokio::test]
async fn the_gemini_stand_in_satisfies_googles_client() {
    let gemini = Gemini::start(Port::Free.listen().unwrap()).unwrap();
    pass("gemini.py", gemini.variables()).await;
}

#[tokio::test]
async fn the_stripe_stand_in_satisfies_stripes_client() {
    let reserved = Reserved::at(Port::Free.listen().unwrap()).unwrap();
    let own = reserved.variables().collect();
    let mut variables = Settings::default().variables(own).unwrap();
    let webhook = webhook().await;
    let _stripe = reserved.serve(webhook.clone(), &variables, client().unwrap());
    variables.insert("WEBHOOK".into(), webhook);
    pass("stripe_client.py", variables).await;
}
