//! Tests the step of a deploy that brings the schema up to date: CloudFormation gets its outcome, whatever it is, and
//! nobody else does.

use axum::{Json, Router, extract::State, http::HeaderMap, routing::put};
use local_stack::{
    services::{Services, postgres::connect},
    settings::Settings,
    system::System,
};
use local_suite::harness::sample;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

/// The address where CloudFormation waits for responses.
struct CloudFormation {
    url: String,
    answers: UnboundedReceiver<Value>,
}

impl CloudFormation {
    async fn start() -> Self {
        let (give, answers) = unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/answer", listener.local_addr().unwrap());
        let routes = Router::new().route("/answer", put(take)).with_state(give);
        tokio::spawn(async { axum::serve(listener, routes).await });
        Self { url, answers }
    }

    /// Makes it the AWS of a system's functions.
    fn settings(&self) -> Settings {
        Settings::default().with("AWS_ENDPOINT_URL", self.url.trim_end_matches("/answer"))
    }

    /// Turns the sample event into another type of request, answered here.
    fn request(&self, kind: &str) -> Value {
        let mut event = sample("migrate");
        event["RequestType"] = json!(kind);
        event["ResponseURL"] = json!(self.url);
        if kind != "Create" {
            event["PhysicalResourceId"] = json!("schema");
        }
        if kind == "Update" {
            event["OldResourceProperties"] = event["ResourceProperties"].clone();
        }
        event
    }

    async fn answer(&mut self) -> Value {
        self.answers.recv().await.unwrap()
    }
}

async fn take(State(give): State<UnboundedSender<Value>>, headers: HeaderMap, body: String) -> Json<()> {
    // A presigned address is signed for requests without one.
    assert!(headers.get("content-type").is_none(), "{headers:?}");
    give.send(serde_json::from_str(&body).unwrap()).unwrap();
    Json(())
}

/// Starts a system whose database has no schema yet, at this CloudFormation.
async fn start(name: &str, cloudformation: &CloudFormation) -> (Services, System, String) {
    let services = Services::from_env().unwrap();
    let name = format!("{name}_{}", std::process::id());
    let url = services.create_unmigrated_database(&name).await.unwrap();
    let settings = cloudformation.settings().with("DATABASE_URL", &url);
    let system = System::start(&services, settings).await.unwrap();
    (services, system, url)
}

#[tokio::test]
async fn deploys_at_once_all_succeed_and_the_schema_is_there() {
    let mut cloudformation = CloudFormation::start().await;
    let (_services, system, url) = start("migration", &cloudformation).await;
    let create = cloudformation.request("Create");
    let (first, second) = tokio::join!(system.invoke("migrate", &create), system.invoke("migrate", &create));
    let applied = [first.unwrap(), second.unwrap()].map(|it| it["applied"].as_u64().unwrap());
    let newest = shared::database::schema_version();
    assert_eq!(applied.iter().sum::<u64>(), u64::try_from(newest).unwrap());
    for _ in 0..2 {
        let expected = json!({
            "Status": "SUCCESS",
            "PhysicalResourceId": "schema",
            "StackId": create["StackId"],
            "RequestId": create["RequestId"],
            "LogicalResourceId": "Migration",
        });
        assert_eq!(cloudformation.answer().await, expected);
    }
    let database = connect(&url).await.unwrap();
    database.query("select from messages", &[]).await.unwrap();

    for kind in ["Update", "Delete"] {
        let event = cloudformation.request(kind);
        let again = system.invoke("migrate", &event).await.unwrap();
        assert_eq!(again["applied"], 0, "{kind}");
        assert_eq!(cloudformation.answer().await["Status"], "SUCCESS");
    }
    database.query("select from messages", &[]).await.unwrap();
}

#[tokio::test]
async fn a_migration_that_fails_fails_the_deploy_and_leaves_no_trace() {
    let mut cloudformation = CloudFormation::start().await;
    let (_services, system, url) = start("broken_migration", &cloudformation).await;
    let database = connect(&url).await.unwrap();
    let obstacle = "create table sessions (id text)";
    database.batch_execute(obstacle).await.unwrap();

    let event = cloudformation.request("Create");
    system.invoke("migrate", &event).await.unwrap();
    let answer = cloudformation.answer().await;
    assert_eq!(answer["Status"], "FAILED", "{answer}");
    let reason = answer["Reason"].as_str().unwrap();
    assert!(reason.contains(r#""sessions" already exists"#), "{reason}");
    let trace = database.query("select from users", &[]).await;
    trace.unwrap_err();
}

/// CloudFormation asks the older code for the older version when a deploy fails after its migration.
#[tokio::test]
async fn a_deploy_that_is_rolled_back_over_a_migration_leaves_the_newer_schema() {
    const LATER: &str = "
        insert into refinery_schema_history (version, name, applied_on, checksum)
        values (999, 'tomorrow', '2031-01-01T00:00:00Z', '7')";
    let mut cloudformation = CloudFormation::start().await;
    let (_services, system, url) = start("roll_back", &cloudformation).await;
    let create = cloudformation.request("Create");
    system.invoke("migrate", &create).await.unwrap();
    assert_eq!(cloudformation.answer().await["Status"], "SUCCESS");

    let database = connect(&url).await.unwrap();
    database.batch_execute(LATER).await.unwrap(); // as newer code leaves it
    let mut update = cloudformation.request("Update");
    update["ResourceProperties"]["SchemaVersion"] = json!("999");
    let mut back = cloudformation.request("Update");
    back["OldResourceProperties"]["SchemaVersion"] = json!("999");
    for event in [update, back] {
        let outcome = system.invoke("migrate", &event).await.unwrap();
        assert_eq!(outcome["applied"], 0);
        let answer = cloudformation.answer().await;
        assert_eq!(answer["Status"], "SUCCESS", "{answer}");
    }
    database.query("select from messages", &[]).await.unwrap();
    let later = "select from refinery_schema_history where version = 999";
    assert_eq!(database.query(later, &[]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_migration_does_not_wait_for_ever_for_a_table() {
    let mut cloudformation = CloudFormation::start().await;
    let (_services, system, url) = start("busy_migration", &cloudformation).await;
    let create = cloudformation.request("Create");
    system.invoke("migrate", &create).await.unwrap();
    assert_eq!(cloudformation.answer().await["Status"], "SUCCESS");

    let other = connect(&url).await.unwrap();
    let lock = "begin; lock table refinery_schema_history in access exclusive mode";
    other.batch_execute(lock).await.unwrap();
    let update = cloudformation.request("Update");
    system.invoke("migrate", &update).await.unwrap();
    let answer = cloudformation.answer().await;
    assert_eq!(answer["Status"], "FAILED", "{answer}");
    let reason = answer["Reason"].as_str().unwrap();
    assert!(reason.contains("lock timeout"), "{reason}");
}

#[tokio::test]
async fn a_migration_takes_the_way_of_its_own_to_the_database() {
    let mut cloudformation = CloudFormation::start().await;
    let services = Services::from_env().unwrap();
    let name = format!("direct_migration_{}", std::process::id());
    let url = services.create_unmigrated_database(&name).await.unwrap();
    let settings = cloudformation
        .settings()
        .with("DATABASE_URL", "postgres://somebody@127.0.0.1:1/a-pooler")
        .with("MIGRATE_DATABASE_URL", &url);
    let system = System::start(&services, settings).await.unwrap();
    let create = cloudformation.request("Create");
    system.invoke("migrate", &create).await.unwrap();
    let answer = cloudformation.answer().await;
    assert_eq!(answer["Status"], "SUCCESS", "{answer}");
    let database = connect(&url).await.unwrap();
    database.query("select from messages", &[]).await.unwrap();
}

#[tokio::test]
async fn a_database_that_is_away_fails_the_deploy() {
    let mut cloudformation = CloudFormation::start().await;
    let services = Services::from_env().unwrap();
    let away = "postgres://somebody:s3cret@127.0.0.1:1/nowhere";
    let settings = cloudformation.settings().with("DATABASE_URL", away);
    let system = System::start(&services, settings).await.unwrap();
    let event = cloudformation.request("Update");
    system.invoke("migrate", &event).await.unwrap();
    let answer = cloudformation.answer().await;
    assert_eq!(answer["Status"], "FAILED");
    assert!(!answer.to_string().contains("s3cret"), "{answer}");
    assert!(answer.to_string().contains("Postgres"), "{answer}");
}

#[tokio::test]
async fn a_forged_event_sends_nothing_to_its_author() {
    let cloudformation = CloudFormation::start().await;
    let mut author = CloudFormation::start().await;
    let (_services, system, url) = start("forged_migration", &cloudformation).await;
    for function in ["migrate", "secret-get"] {
        let mut event = sample(function);
        event["ResponseURL"] = json!(author.url);
        let outcome = system.invoke(function, &event).await;
        assert!(outcome.is_err(), "{function}: {outcome:?}");
        assert!(author.answers.try_recv().is_err(), "{function} responds to the author");
    }
    let database = connect(&url).await.unwrap();
    database.query("select from messages", &[]).await.expect_err("nothing was migrated");
}
