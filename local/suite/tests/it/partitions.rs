//! The schema can be spread over partitions, and so over machines, as it is: what grows with use is keyed by its user.
//!
//! The partitioned schema is made from the migrations' own text, and the statements are read from the sources: a table
//! or a statement that is added is part of these tests without being named here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use local_stack::{
    machine::workspace::root,
    services::{Services, postgres::connect},
};
use local_suite::harness::{Stack, User};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::stacks::settings;

/// How many partitions each table that grows has.
const PARTITIONS: usize = 16;

/// Tables with a user that stay in one piece: a subscription is also found by its Stripe customer, which is unique over
/// all users, and an event by its id, before anybody knows whose it is.
const IN_ONE_PIECE: [&str; 2] = ["subscriptions", "stripe_events"];

/// Statements of schedules, which look at every user.
const OF_ALL_USERS: [&str; 5] = [
    "functions/message-sweep/src/main.rs FAILING",
    "functions/message-sweep/src/main.rs FORGET",
    "functions/message-sweep/src/removals.rs REMOVE",
    "shared/src/messages/forgotten.rs FORGOTTEN",
    "shared/src/messages/forgotten.rs WOKEN",
];

/// A statement of the product.
struct Statement {
    /// Its file and its name.
    name: String,
    sql: String,
}

#[tokio::test]
async fn every_statement_touches_the_partitions_of_one_user_unless_a_schedule_sends_it() {
    let client = connect(partitioned().await).await.unwrap();
    let (mut seen, mut of_all) = (BTreeSet::new(), Vec::new());
    for statement in statements() {
        let touched = touched(&client, &statement).await;
        let partitions: BTreeSet<_> = touched.iter().map(|(_, partition)| partition).collect();
        if partitions.len() > 1 {
            of_all.push(statement.name);
        }
        seen.extend(touched.into_iter().map(|(table, _)| table));
    }
    assert_eq!(of_all, OF_ALL_USERS);
    assert_eq!(seen, growing_tables(), "a table that no statement reads");
}

#[tokio::test]
async fn a_conversation_goes_the_same_way_over_partitioned_tables() {
    let settings = settings(local_stack::settings::Queue::Sqs, local_stack::settings::State::Dynamodb)
        .with("DATABASE_URL", partitioned().await)
        .with("CHATROOM_CACHE", "none");
    let stack = Stack::start(&Stack::services(), settings, local_suite::harness::contract::check).await;
    let user = User::sign_up(&stack, &stack.mobile()).await;
    let room = user.room().await;
    for prompt in ["one", "two"] {
        let message = user.post(&room, prompt).await;
        assert_eq!(user.reply(&message).await, format!("echo: {prompt}"));
    }
    assert_eq!(user.used().await, 2);
    let left = "select count(*) from messages where user_id";
    let left = format!("{left} = '{}'", user.id);
    assert_eq!(stack.value::<i64>(&left).await, 2);

    user.leave(204).await;
    stack.system.invoke("message-sweep", &json!({})).await.unwrap();
    assert_eq!(stack.value::<i64>(&left).await, 0, "the user's rows go too");
    stack.stop().await;
}

/// A database with the partitioned schema.
async fn partitioned() -> &'static str {
    static URL: OnceCell<String> = OnceCell::const_new();
    URL.get_or_init(|| async {
        let services = Services::from_env().unwrap();
        let name = format!("partitioned_{}", std::process::id());
        let url = services.create_unmigrated_database(&name).await.unwrap();
        let client = connect(&url).await.unwrap();
        client.batch_execute(&partitioned_schema()).await.unwrap_or_else(|error| panic!("no such schema: {error:?}"));
        url
    })
    .await
}

/// The migrations, with every table that grows partitioned by a hash of its user.
fn partitioned_schema() -> String {
    let mut schema = schema();
    for table in growing_tables() {
        let start = schema.find(&format!("create table {table} (")).unwrap();
        let end = start + schema[start..].find("\n);").unwrap();
        let mut partitions = "\n) partition by hash (user_id);".to_owned();
        for number in 0..PARTITIONS {
            let _ = write!(
                partitions,
                "\ncreate table {table}_of_{number} partition of {table}
                     for values with (modulus {PARTITIONS}, remainder {number});"
            ); // writing to a string does not fail
        }
        schema.replace_range(end..end + 3, &partitions);
    }
    schema
}

/// The tables whose rows each belong to a user.
fn growing_tables() -> BTreeSet<String> {
    let schema = schema();
    let tables = schema.split("\ncreate table ").skip(1);
    let tables = tables.filter_map(|table| {
        let (name, rest) = table.split_once(" (")?;
        let (columns, _) = rest.split_once("\n);")?;
        let grows = columns.contains("\n    user_id ") && !IN_ONE_PIECE.contains(&name);
        grows.then(|| name.to_owned())
    });
    tables.collect()
}

fn schema() -> String {
    let mut migrations = files(&root().join("shared/migrations"));
    migrations.sort();
    let texts = migrations.iter().map(|file| fs::read_to_string(file).unwrap());
    texts.collect()
}

/// Every statement that a function sends, by the constants that hold them.
fn statements() -> Vec<Statement> {
    let root = root();
    let mut sources = files(&root.join("functions"));
    sources.extend(files(&root.join("shared/src")));
    sources.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    sources.retain(|file| !file.ends_with("shared/src/testing.rs") && !file.ends_with("tests.rs"));
    sources.sort();
    let mut statements = Vec::new();
    for file in sources {
        let source = fs::read_to_string(&file).unwrap();
        let (source, _) = source.split_once("#[cfg(test)]").unwrap_or((&source, ""));
        let constants = constants(source);
        let file = file.strip_prefix(root).unwrap().display().to_string();
        for call in [".query(", ".query_opt(", ".query_one("] {
            for sent in source.split(call).skip(1) {
                let sent = sent.trim_start().split([',', ' ']).next().unwrap();
                // The port itself passes on what it is given.
                let known = constants.contains_key(sent) || file == "shared/src/database/mod.rs";
                assert!(known, "{file} sends `{sent}`, which is no constant of that file");
            }
        }
        let of_schema = constants.into_iter().filter(|(_, sql)| is_statement(sql));
        statements
            .extend(of_schema.map(|(name, sql)| Statement { name: format!("{file} {name}"), sql: sql.to_owned() }));
    }
    assert!(statements.len() > 30, "the statements were not found");
    statements
}

/// The texts that a source file names.
fn constants(source: &str) -> BTreeMap<&str, &str> {
    let constants = source.split("\nconst ").skip(1);
    let constants = constants.filter_map(|constant| {
        let (name, rest) = constant.split_once(": &str = \"")?;
        Some((name, rest.split_once("\";")?.0))
    });
    constants.collect()
}

fn is_statement(text: &str) -> bool {
    let lines = text.lines().map(str::trim);
    let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with("--"));
    let verb = lines.next().and_then(|line| line.split(' ').next());
    matches!(verb, Some("select" | "insert" | "update" | "delete" | "with"))
}

/// The tables that a statement touches for one user, with the numbers of their partitions. Each of its ids is another
/// one, so that it is the user's that leads to the partition.
async fn touched(client: &Client, statement: &Statement) -> BTreeSet<(String, usize)> {
    let Statement { name, sql } = statement;
    let prepared = client.prepare(sql).await;
    let prepared = prepared.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let values = prepared.params().iter().enumerate();
    let values = values.map(|(index, kind)| match kind.name() {
        "uuid" => format!("'00000000-0000-7000-8000-{index:012}'"),
        "text" => "'text'".to_owned(),
        "bytea" => "'\\x00'".to_owned(),
        "_uuid" | "_text" => "'{}'".to_owned(),
        "timestamptz" => "now()".to_owned(),
        "bool" => "true".to_owned(),
        _ => "1".to_owned(),
    });
    let list = |of: Vec<String>| match of.as_slice() {
        [] => String::new(),
        of => format!("({})", of.join(", ")),
    };
    let values = list(values.collect());
    let types = prepared.params().iter();
    let types = list(types.map(|kind| kind.name().to_owned()).collect());
    let batch = format!(
        "deallocate all; set plan_cache_mode = force_custom_plan; prepare statement{types} as {sql};
         explain (format json) execute statement{values}"
    );
    let rows = client.simple_query(&batch).await;
    let rows = rows.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let plan = rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let mut touched = BTreeSet::new();
    collect(&serde_json::from_str(plan.unwrap()).unwrap(), &mut touched);
    touched
}

/// The partitions that a plan names.
fn collect(plan: &Value, touched: &mut BTreeSet<(String, usize)>) {
    match plan {
        Value::Array(parts) => parts.iter().for_each(|part| collect(part, touched)),
        Value::Object(parts) => {
            let relation = parts.get("Relation Name").and_then(Value::as_str);
            let partition = relation.and_then(|relation| relation.rsplit_once("_of_"));
            if let Some((table, number)) = partition {
                touched.insert((table.to_owned(), number.parse().unwrap()));
            }
            parts.values().for_each(|part| collect(part, touched));
        }
        _ => {}
    }
}

/// The files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let entries = entries.map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
