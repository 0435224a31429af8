//! Keeps state in one DynamoDB table: partition key `key`, and `expires_at` as its TTL attribute.
//!
//! Every operation is one conditional request. DynamoDB removes expired items hours late, so every condition looks at
//! `expires_at` itself. Times are whole seconds, rounded up: an item never ends early, and less than a second late.

use std::{
    collections::HashMap,
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_sdk_dynamodb::{
    Client, Config,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};

use super::Count;
use crate::{
    Error, Result,
    aws::{self, Aws},
    config::{self, ConfigError},
};

const TIMEOUT: Duration = Duration::from_secs(3);

const ABSENT: &str = "attribute_not_exists(#key) or #expires_at <= :now";
const IS_EXPECTED: &str = "#value = :expected and #expires_at > :now";

pub(super) struct DynamoDb {
    aws: Aws,
    table: String,
    client: OnceLock<Client>,
}

type Item = HashMap<String, AttributeValue>;

impl DynamoDb {
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self { aws: Aws::from_env()?, table: config::required("STATE_TABLE")?, client: OnceLock::new() })
    }

    pub async fn get(&self, key: &str) -> Result<Option<String>> {
        let request = self.client().get_item().table_name(&self.table);
        let response = request.key("key", text(key)).consistent_read(true).send().await;
        let item = response.map_err(unavailable)?.item.unwrap_or_default();
        let alive = number(&item, "expires_at").is_some_and(|end| end > seconds(Duration::ZERO));
        let value = item.get("value").and_then(|value| value.as_s().ok());
        Ok(value.filter(|_| alive).cloned())
    }

    pub async fn put_if_absent(&self, key: &str, value: &str, ttl: Duration) -> Result<bool> {
        let request = self.client().put_item().table_name(&self.table);
        let response = request
            .item("key", text(key))
            .item("value", text(value))
            .item("expires_at", end_of(ttl))
            .condition_expression(ABSENT)
            .expression_attribute_names("#key", "key")
            .expression_attribute_names("#expires_at", "expires_at")
            .expression_attribute_values(":now", now())
            .send()
            .await;
        condition_held(response)
    }

    pub async fn replace_if(&self, key: &str, expected: &str, value: &str, ttl: Duration) -> Result<bool> {
        let request = self.client().put_item().table_name(&self.table);
        let response = request
            .item("key", text(key))
            .item("value", text(value))
            .item("expires_at", end_of(ttl))
            .condition_expression(IS_EXPECTED)
            .expression_attribute_names("#value", "value")
            .expression_attribute_names("#expires_at", "expires_at")
            .expression_attribute_values(":expected", text(expected))
            .expression_attribute_values(":now", now())
            .send()
            .await;
        condition_held(response)
    }

    pub async fn remove_if(&self, key: &str, expected: &str) -> Result<bool> {
        let request = self.client().delete_item().table_name(&self.table);
        let response = request
            .key("key", text(key))
            .condition_expression(IS_EXPECTED)
            .expression_attribute_names("#value", "value")
            .expression_attribute_names("#expires_at", "expires_at")
            .expression_attribute_values(":expected", text(expected))
            .expression_attribute_values(":now", now())
            .send()
            .await;
        condition_held(response)
    }

    pub async fn remove(&self, key: &str) -> Result<()> {
        let request = self.client().delete_item().table_name(&self.table);
        request.key("key", text(key)).send().await.map_err(unavailable)?;
        Ok(())
    }

    /// Adds one to the window, which begins with the first. A window that is over may still be stored, and is replaced
    /// by a new one. Of several calls that replace it at once one succeeds, and the others add to its window.
    pub async fn count(&self, key: &str, limit: u32, window: Duration) -> Result<Count> {
        if limit == 0 {
            return Ok(Count::Over(window));
        }
        loop {
            let over = match self.add_one(key, limit, window).await? {
                Added::Yes => return Ok(Count::Within),
                Added::No(end) => end,
            };
            match over.checked_sub(seconds(Duration::ZERO)) {
                Some(wait @ 1..) => return Ok(Count::Over(Duration::from_secs(wait))),
                _ if self.renew(key, over, window).await? => return Ok(Count::Within),
                _ => {}
            }
        }
    }

    async fn add_one(&self, key: &str, limit: u32, window: Duration) -> Result<Added> {
        let request = self.client().update_item().table_name(&self.table);
        let response = request
            .key("key", text(key))
            .update_expression("set #expires_at = if_not_exists(#expires_at, :end) add #times :one")
            .condition_expression("attribute_not_exists(#expires_at) or #expires_at > :now and #times < :limit")
            .expression_attribute_names("#times", "times")
            .expression_attribute_names("#expires_at", "expires_at")
            .expression_attribute_values(":one", AttributeValue::N("1".into()))
            .expression_attribute_values(":limit", AttributeValue::N(limit.to_string()))
            .expression_attribute_values(":end", end_of(window))
            .expression_attribute_values(":now", now())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match response.map_err(aws_sdk_dynamodb::Error::from) {
            Ok(_) => Ok(Added::Yes),
            Err(aws_sdk_dynamodb::Error::ConditionalCheckFailedException(failed)) => {
                let end = failed.item.and_then(|item| number(&item, "expires_at"));
                Ok(Added::No(end.unwrap_or_default()))
            }
            Err(error) => Err(Error::unavailable(error)),
        }
    }

    /// Begins a new window in place of the one that ended at `end`.
    async fn renew(&self, key: &str, end: u64, window: Duration) -> Result<bool> {
        let request = self.client().update_item().table_name(&self.table);
        let response = request
            .key("key", text(key))
            .update_expression("set #expires_at = :end, #times = :one")
            .condition_expression("attribute_not_exists(#expires_at) or #expires_at = :over")
            .expression_attribute_names("#times", "times")
            .expression_attribute_names("#expires_at", "expires_at")
            .expression_attribute_values(":one", AttributeValue::N("1".into()))
            .expression_attribute_values(":over", AttributeValue::N(end.to_string()))
            .expression_attribute_values(":end", end_of(window))
            .send()
            .await;
        condition_held(response)
    }

    pub async fn give_back(&self, key: &str) -> Result<()> {
        let request = self.client().update_item().table_name(&self.table);
        let response = request
            .key("key", text(key))
            .update_expression("add #times :less")
            .condition_expression("#expires_at > :now and #times > :zero")
            .expression_attribute_names("#times", "times")
            .expression_attribute_names("#expires_at", "expires_at")
            .expression_attribute_values(":less", AttributeValue::N("-1".into()))
            .expression_attribute_values(":zero", AttributeValue::N("0".into()))
            .expression_attribute_values(":now", now())
            .send()
            .await;
        condition_held(response).map(drop)
    }

    fn client(&self) -> &Client {
        self.client.get_or_init(|| {
            let mut config = Config::builder()
                .region(self.aws.region.clone())
                .credentials_provider(self.aws.credentials.clone())
                .http_client(aws::http_client())
                .timeout_config(aws::timeouts(TIMEOUT));
            config.set_endpoint_url(self.aws.endpoint.clone());
            Client::from_conf(config.build())
        })
    }
}

/// Says whether one was added to a window.
enum Added {
    Yes,
    /// The window is full or over. It ends, or ended, at this time in seconds since 1970.
    No(u64),
}

/// Returns whether the condition held. When a response is lost, the SDK's retry meets the write of its first attempt
/// and reports a failed condition: callers then see "not done", which is the safe side for codes and limits.
fn condition_held<T, E>(response: Result<T, E>) -> Result<bool>
where
    aws_sdk_dynamodb::Error: From<E>,
{
    match response.map_err(aws_sdk_dynamodb::Error::from) {
        Ok(_) => Ok(true),
        Err(aws_sdk_dynamodb::Error::ConditionalCheckFailedException(_)) => Ok(false),
        Err(error) => Err(Error::unavailable(error)),
    }
}

fn unavailable<E>(error: E) -> Error
where
    aws_sdk_dynamodb::Error: From<E>,
{
    Error::unavailable(aws_sdk_dynamodb::Error::from(error))
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.into())
}

fn number(item: &Item, attribute: &str) -> Option<u64> {
    item.get(attribute)?.as_n().ok()?.parse().ok()
}

fn now() -> AttributeValue {
    end_of(Duration::ZERO)
}

fn end_of(ttl: Duration) -> AttributeValue {
    AttributeValue::N(seconds(ttl).to_string())
}

/// Returns the time `after` now in seconds since 1970: the present rounded down, a later time rounded up.
fn seconds(after: Duration) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if after.is_zero() { now.as_secs() } else { (now + after).as_secs() + 1 }
}
