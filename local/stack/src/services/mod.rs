//! Starts the services below a system: Postgres, AWS and Redis. Each is taken from the environment when it names one
//! (`DATABASE_URL`, `AWS_ENDPOINT_URL`, `REDIS_URL`), else started.

pub mod aws;
pub mod postgres;
pub mod redis;

use std::{env, time::Duration};

use anyhow::{Context, Result, anyhow};

use crate::{
    machine::{
        ports::{Port, Ports},
        process::Group,
        progress::Step,
        tools::{STACK, Tools},
        workspace::Workspace,
    },
    services::{
        aws::{Aws, MiniStack, Strictness},
        postgres::{Postgres, connect, with_database},
        redis::Redis,
    },
    settings::{Settings, Variables},
};

/// The migrated database that a system's own is copied from.
const TEMPLATE: &str = "local_template";

/// The ports of `cargo local`, near that of its API.
const PORTS: [u16; 3] = [9003, 9004, 9005];

/// Tells tests that the Redis server is ours.
const REDIS_DATABASES: &str = "LOCAL_REDIS_DATABASES";

/// What a test without services says.
const HOW_TO_TEST: &str = "run `cargo local test`, or keep `cargo local services` running and take over its variables";

/// Running services. Those that were started here stop when this is dropped.
pub struct Services {
    /// The migrated template database, for which other databases of the same server can be named.
    template: String,
    /// The queue and the state store.
    pub aws: Aws,
    /// Redis, when it was asked for.
    redis_url: Option<String>,
    /// How many databases it has for systems. One that is not ours may have few, and is used as it is named.
    redis_databases: Option<u32>,
    postgres: Option<Postgres>,
    ministack: Option<MiniStack>,
    redis: Option<Redis>,
}

impl Services {
    /// Starts what the environment does not name, on free ports or on those of `cargo local`.
    pub async fn start(workspace: &Workspace, ports: Ports) -> Result<Self> {
        let tools = Tools::install(&workspace.target, &STACK).await?;
        let logs = workspace.logs()?;
        let step = Step::begin("Starting Postgres, MiniStack and Redis");
        let [postgres, ministack, redis] = PORTS.map(|number| ports.port(number));
        let (postgres, ministack, redis) = tokio::try_join!(
            unless_named("DATABASE_URL", Box::pin(Postgres::start(&tools, postgres, &logs))),
            unless_named(
                "AWS_ENDPOINT_URL",
                MiniStack::start(&tools, Group::new(None)?, ministack, &logs, Strictness::Trusting)
            ),
            unless_named("REDIS_URL", Redis::start(&workspace.target, redis, &logs)),
        )?;
        let database = match &postgres {
            Some(postgres) => postgres.url("postgres"),
            None => env::var("DATABASE_URL")?,
        };
        let endpoint = match &ministack {
            Some(ministack) => ministack.endpoint.clone(),
            None => env::var("AWS_ENDPOINT_URL")?,
        };
        let redis_url = match &redis {
            Some(redis) => Some(redis.url.clone()),
            None => env::var("REDIS_URL").ok(),
        };
        let services = Self {
            template: migrated(&database).await?,
            aws: Aws::at(endpoint)?,
            redis_url,
            redis_databases: redis.as_ref().map(|_| redis::DATABASES),
            postgres,
            ministack,
            redis,
        };
        step.done();
        Ok(services)
    }

    /// Finds the services of `cargo local test`, for tests.
    pub fn from_env() -> Result<Self> {
        let variable = |name: &str| env::var(name).map_err(|_| anyhow!("{name} is missing: {HOW_TO_TEST}"));
        Ok(Self {
            template: variable("DATABASE_URL")?,
            aws: Aws::at(variable("AWS_ENDPOINT_URL")?)?,
            redis_url: env::var("REDIS_URL").ok(),
            redis_databases: env::var(REDIS_DATABASES).ok().and_then(|number| number.parse().ok()),
            postgres: None,
            ministack: None,
            redis: None,
        })
    }

    /// Starts a Postgres of its own, which a test can stop, beside the other services.
    pub async fn with_own_postgres(self) -> Result<Self> {
        let workspace = Workspace::find()?;
        let tools = Tools::install(&workspace.target, &STACK).await?;
        let postgres = Postgres::start(&tools, Port::Free, &workspace.logs()?).await?;
        Ok(Self { template: migrated(&postgres.url("postgres")).await?, postgres: Some(postgres), ..self })
    }

    /// Starts a Redis of its own, which a test can stop, beside the other services.
    pub async fn with_own_redis(self) -> Result<Self> {
        let workspace = Workspace::find()?;
        let redis = Redis::start(&workspace.target, Port::Free, &workspace.logs()?).await?;
        Ok(Self {
            redis_url: Some(redis.url.clone()),
            redis_databases: Some(redis::DATABASES),
            redis: Some(redis),
            ..self
        })
    }

    /// Returns the Redis that was started for these services.
    pub fn redis(&self) -> Result<&Redis> {
        let redis = self.redis.as_ref();
        redis.context("this Redis is shared; use `with_own_redis`")
    }

    /// Returns the Postgres that was started for these services.
    pub fn postgres(&self) -> Result<&Postgres> {
        self.postgres.as_ref().context("this Postgres is shared; use `with_own_postgres`")
    }

    /// Makes the secret from which a stack deployed into this MiniStack takes its variables.
    pub async fn keep_secrets(&self, variables: &Variables) -> Result<()> {
        match self.ministack {
            Some(_) => self.aws.keep_secrets(variables).await,
            None => Ok(()), // somebody else's AWS
        }
    }

    /// Makes a queue and a table for `cargo test`, and returns its variables: these, the template database's, and the
    /// functions' settings.
    pub async fn test_variables(&self, settings: &Settings) -> Result<Variables> {
        // The queue's contract is tested without a pump, and nobody wants to wait.
        let queue_url = self.aws.create_queue("test", Duration::from_secs(5)).await?;
        self.aws.create_table("test").await?;
        let mut own = self.variables(&self.template, &queue_url, "test");
        let databases = self.redis_databases.map(|number| (REDIS_DATABASES.to_owned(), number.to_string()));
        own.extend(databases);
        settings.variables(own)
    }

    /// Takes a Redis database that no other system uses, if there is Redis, and returns its address.
    pub fn redis_database(&self) -> Result<Option<String>> {
        let (Some(url), Some(databases)) = (&self.redis_url, self.redis_databases) else {
            return Ok(self.redis_url.clone());
        };
        // The first is for the tests that use the server without a system. Chance keeps processes apart.
        let number = getrandom::u32().map_err(|error| anyhow!("no random numbers: {error}"))?;
        Ok(Some(format!("{url}/{}", 1 + number % (databases - 1))))
    }

    /// Returns the variables that name these services.
    pub fn variables(&self, database_url: &str, queue_url: &str, table: &str) -> Variables {
        let names = [("DATABASE_URL", database_url), ("QUEUE_URL", queue_url), ("STATE_TABLE", table)];
        let redis = self.redis_url.as_deref().map(|url| ("REDIS_URL", url));
        let names = names.into_iter().chain(redis);
        names
            .map(|(name, value)| (name, value.to_owned()))
            .chain(self.aws.variables())
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// Makes a database that is migrated and empty, and returns its URL.
    pub async fn create_database(&self, name: &str) -> Result<String> {
        self.copy_database(postgres::split(&self.template)?.1, name).await
    }

    /// Makes a database without a schema, and returns its URL.
    pub async fn create_unmigrated_database(&self, name: &str) -> Result<String> {
        self.copy_database("template0", name).await
    }

    async fn copy_database(&self, template: &str, name: &str) -> Result<String> {
        let admin = connect(&with_database(&self.template, "postgres")?).await?;
        let create = format!(r#"create database "{name}" template "{template}""#);
        admin.batch_execute(&create).await.context("cannot make a database")?;
        with_database(&self.template, name)
    }

    /// Removes it and ends its connections.
    pub async fn remove_database(&self, name: &str) -> Result<()> {
        let admin = connect(&with_database(&self.template, "postgres")?).await?;
        let remove = format!(r#"drop database if exists "{name}" with (force)"#);
        Ok(admin.batch_execute(&remove).await?)
    }
}

async fn unless_named<T>(variable: &str, start: impl Future<Output = Result<T>>) -> Result<Option<T>> {
    if env::var_os(variable).is_some() {
        return Ok(None);
    }
    start.await.map(Some)
}

/// Makes the template database unless it is there, and migrates it.
async fn migrated(server: &str) -> Result<String> {
    let client = connect(&with_database(server, "postgres")?)
        .await
        .context("cannot connect to Postgres; is the one that DATABASE_URL names running?")?;
    let known = "select from pg_database where datname = $1";
    if client.query(known, &[&TEMPLATE]).await?.is_empty() {
        client.batch_execute(&format!("create database {TEMPLATE}")).await?;
    }
    let template = with_database(server, TEMPLATE)?;
    migrate(&template).await.context("the migrations fail")?;
    Ok(template)
}

/// Applies `shared/migrations` as the function `migrate` does, under the same lock.
async fn migrate(url: &str) -> Result<()> {
    let mut client = connect(url).await?;
    client.batch_execute("select pg_advisory_lock(20261122)").await?;
    let migrations = Workspace::find()?.root.join("shared/migrations");
    let migrations = refinery::load_sql_migrations(migrations)?;
    refinery::Runner::new(&migrations).run_async(&mut client).await?;
    Ok(())
}
