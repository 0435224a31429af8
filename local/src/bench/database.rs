//! What Postgres says about a function's statements: how many there were, what they read, and how fast each is alone.

use std::{fs, io::Write as _};

use anyhow::{Context, Result, anyhow};
use tokio_postgres::Client;

use super::wire::Statement;
use crate::{
    machine::process::run,
    services::postgres::{Postgres, connect, split, with_database},
};

/// How often a bare statement is executed.
const TRANSACTIONS: u32 = 500;

/// Watches one database from another one, so that its own statements are not among those it counts.
pub struct Watch {
    admin: Client,
    inside: Client,
    database: String,
}

impl Watch {
    /// Watches the database at `url`.
    pub async fn over(url: &str) -> Result<Self> {
        let admin = connect(&with_database(url, "postgres")?).await?;
        admin
            .batch_execute("create extension if not exists pg_stat_statements")
            .await
            .context("Postgres must have pg_stat_statements in shared_preload_libraries")?;
        Ok(Self {
            admin,
            inside: connect(url).await?,
            database: split(url)?.1.to_owned(),
        })
    }

    /// How many statements the database has executed since the last time.
    pub async fn take_statements(&self) -> Result<i64> {
        let count = "select coalesce(sum(calls), 0)::int8
                     from pg_stat_statements join pg_database on pg_database.oid = dbid
                     where datname = $1";
        let count = self.admin.query_one(count, &[&self.database]).await?.get(0);
        let reset = "select pg_stat_statements_reset()";
        self.admin.query_one(reset, &[]).await?;
        Ok(count)
    }

    /// How many rows were read by sequential scans so far, of all tables: none of them stays small. Sessions tell what
    /// they read when they end, or after some seconds.
    pub async fn rows_scanned(&self) -> Result<i64> {
        let scanned = "select coalesce(sum(seq_tup_read), 0)::int8 from pg_stat_user_tables
                       where relname <> 'refinery_schema_history'";
        Ok(self.inside.query_one(scanned, &[]).await?.get(0))
    }
}

/// The mean time of a statement alone, in milliseconds, by pgbench over one connection. A parameter that differed from
/// one request to the next, like the id of what is made, differs here too.
pub async fn bare(postgres: &Postgres, url: &str, twice: &[Statement; 2]) -> Result<f64> {
    let [first, second] = twice;
    let mut sql = first.sql.clone();
    // From the last, so that `$1` does not find `$12`.
    for (index, parameter) in first.parameters.iter().enumerate().rev() {
        let same = second.parameters.get(index) == Some(parameter);
        let value = match parameter.rsplit_once("::") {
            Some((_, "uuid")) if !same => {
                "('00000000-0000-7000-8000-' || lpad(to_hex(:fresh::int8), 12, '0'))::uuid"
                    .to_owned()
            }
            Some((_, "text")) if !same => "('fresh-' || :fresh::int8)::text".to_owned(),
            _ => parameter.clone(),
        };
        sql = sql.replace(&format!("${}", index + 1), &value);
    }
    let directory = tempfile::Builder::new().prefix("local-bench-").tempdir()?;
    let script = directory.path().join("statement.sql");
    writeln!(
        fs::File::create(&script)?,
        "\\set fresh random(1, 1000000000000)\n{};",
        sql.trim()
    )?;
    run(tokio::process::Command::new("chmod")
        .args(["-R", "a+rX"])
        .arg(directory.path()))
    .await?;
    let mut pgbench = postgres.program("pgbench");
    pgbench
        .args(["--no-vacuum", "--client=1", "--protocol=extended"])
        .arg(format!("--transactions={TRANSACTIONS}"))
        .arg(format!("--file={}", script.display()))
        .arg(url);
    let output = run(&mut pgbench).await?;
    latency(&output).ok_or_else(|| anyhow!("pgbench tells no latency:\n{output}"))
}

fn latency(output: &str) -> Option<f64> {
    let line = output
        .lines()
        .find_map(|line| line.strip_prefix("latency average = "))?;
    line.strip_suffix(" ms")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_latency_is_read_from_what_pgbench_prints() {
        let output = "number of failed transactions: 0 (0.000%)\nlatency average = 0.123 ms\n\
                      initial connection time = 2.5 ms\ntps = 8100";
        assert_eq!(latency(output), Some(0.123));
        assert_eq!(latency(""), None);
    }
}
