//! AWS as the stack sees it: MiniStack (or what `AWS_ENDPOINT_URL` names), and the queue and table of a system.

mod call;
mod ministack;
mod secrets;

use std::{collections::HashMap, env, time::Duration};

use anyhow::{Context, Result};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    TimeToLiveSpecification,
};
use aws_sdk_sqs::{
    config::{BehaviorVersion, Credentials, Region, SharedHttpClient},
    types::QueueAttributeName,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

pub use ministack::{MiniStack, Strictness};

/// As on AWS, where a queue's visibility timeout must exceed its function's. The pump returns failures sooner.
pub const VISIBILITY_TIMEOUT: Duration = Duration::from_mins(18);

/// After this many receives a message goes to the dead-letter queue.
const MAX_RECEIVES: u32 = 5;

/// An endpoint with credentials, and clients for it.
#[derive(Clone)]
pub struct Aws {
    /// `AWS_ENDPOINT_URL`.
    pub endpoint: String,
    /// `AWS_REGION`.
    pub region: String,
    key: String,
    secret: String,
    credentials: Credentials,
    /// The client for queues.
    pub sqs: aws_sdk_sqs::Client,
    /// The client for tables.
    pub dynamodb: aws_sdk_dynamodb::Client,
}

impl Aws {
    /// The services at `endpoint`, with region and credentials of the environment or made-up ones.
    pub fn at(endpoint: String) -> Self {
        let variable = |name, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
        let region = variable("AWS_REGION", "us-east-1");
        let key = variable("AWS_ACCESS_KEY_ID", "test");
        let secret = variable("AWS_SECRET_ACCESS_KEY", "test");

        let credentials = Credentials::new(
            &key,
            &secret,
            env::var("AWS_SESSION_TOKEN").ok(),
            None,
            "local",
        );
        let sqs = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.clone()))
            .credentials_provider(credentials.clone())
            .endpoint_url(&endpoint)
            .http_client(http_client())
            .build();
        let dynamodb = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.clone()))
            .credentials_provider(credentials.clone())
            .endpoint_url(&endpoint)
            .http_client(http_client())
            .build();
        Self {
            endpoint,
            region,
            key,
            secret,
            credentials,
            sqs: aws_sdk_sqs::Client::from_conf(sqs),
            dynamodb: aws_sdk_dynamodb::Client::from_conf(dynamodb),
        }
    }

    /// The variables that Lambda would set.
    pub fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_REGION", self.region.clone()),
            ("AWS_ACCESS_KEY_ID", self.key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secret.clone()),
        ]
    }

    /// Makes a queue and gives its URL. That of its dead-letter queue is the same with `-dead` at its end.
    pub async fn create_queue(&self, name: &str, visibility_timeout: Duration) -> Result<String> {
        let dead = self
            .sqs
            .create_queue()
            .queue_name(format!("{name}-dead"))
            .send();
        let dead = dead.await.context("cannot make the dead-letter queue")?;
        let dead = dead.queue_url.context("the dead-letter queue has no URL")?;
        let arn = QueueAttributeName::QueueArn;
        let attributes = self.sqs.get_queue_attributes().queue_url(&dead);
        let attributes = attributes.attribute_names(arn.clone()).send().await?;
        let attributes = attributes.attributes.unwrap_or_default();
        let redrive = serde_json::json!({
            "deadLetterTargetArn": attributes.get(&arn).context("the dead-letter queue has no ARN")?,
            "maxReceiveCount": MAX_RECEIVES,
        });
        let attributes = HashMap::from([
            (
                QueueAttributeName::VisibilityTimeout,
                visibility_timeout.as_secs().to_string(),
            ),
            (QueueAttributeName::RedrivePolicy, redrive.to_string()),
        ]);
        let queue = self
            .sqs
            .create_queue()
            .queue_name(name)
            .set_attributes(Some(attributes));
        let queue = queue.send().await.context("cannot make the queue")?;
        queue.queue_url.context("the queue has no URL")
    }

    /// Makes the state store's table.
    pub async fn create_table(&self, name: &str) -> Result<()> {
        let key = AttributeDefinition::builder()
            .attribute_name("key")
            .attribute_type(ScalarAttributeType::S)
            .build()?;
        let schema = KeySchemaElement::builder()
            .attribute_name("key")
            .key_type(KeyType::Hash)
            .build()?;
        let table = self.dynamodb.create_table().table_name(name);
        let table = table.attribute_definitions(key).key_schema(schema);
        let table = table.billing_mode(BillingMode::PayPerRequest).send();
        table.await.context("cannot make the state table")?;
        let ttl = TimeToLiveSpecification::builder()
            .attribute_name("expires_at")
            .enabled(true)
            .build()?;
        let update = self.dynamodb.update_time_to_live().table_name(name);
        update.time_to_live_specification(ttl).send().await?;
        Ok(())
    }

    /// Removes what [`Aws::create_queue`] and [`Aws::create_table`] made.
    pub async fn remove(&self, queue_url: &str, table: &str) -> Result<()> {
        for queue in [queue_url, &format!("{queue_url}-dead")] {
            self.sqs.delete_queue().queue_url(queue).send().await?;
        }
        self.dynamodb
            .delete_table()
            .table_name(table)
            .send()
            .await?;
        Ok(())
    }
}

fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https()
}
