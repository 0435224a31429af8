//! Counts a function's statements and the rows they scan, by Postgres's own statistics.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use tokio_postgres::Client;

use local_stack::services::postgres::{connect, split, with_database};

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
        Ok(Self { admin, inside: connect(url).await?, database: split(url)?.1.to_owned() })
    }

    /// Returns how many statements the database has executed since the last call.
    pub async fn take_statements(&self) -> Result<i64> {
        let count = "select coalesce(sum(calls), 0)::int8
                     from pg_stat_statements join pg_database on pg_database.oid = dbid
                     where datname = $1";
        let count = self.admin.query_one(count, &[&self.database]).await?.get(0);
        let reset = "select pg_stat_statements_reset()";
        self.admin.query_one(reset, &[]).await?;
        Ok(count)
    }

    /// Counts the sessions of the database.
    pub async fn sessions(&self) -> Result<i64> {
        let count = "select count(*) from pg_stat_activity where datname = $1";
        Ok(self.admin.query_one(count, &[&self.database]).await?.get(0))
    }

    /// Returns how many rows sequential scans read so far, by table. Sessions report their reads when they end. The
    /// next sweep takes what is in `removals`, so a scan of it is right.
    pub async fn scanned(&self) -> Result<BTreeMap<String, i64>> {
        let scanned = "select relname::text, seq_tup_read from pg_stat_user_tables
                       where relname not in ('refinery_schema_history', 'removals')";
        let rows = self.inside.query(scanned, &[]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }
}
