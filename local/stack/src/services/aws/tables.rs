//! Makes the state store's table in `DynamoDB`.

use anyhow::Result;
use serde_json::{Value, json};
use time::UtcDateTime;

use super::Aws;

impl Aws {
    /// Makes the state store's table.
    pub async fn create_table(&self, name: &str) -> Result<()> {
        let table = json!({
            "TableName": name, "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "key", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "key", "KeyType": "HASH"}],
        });
        self.dynamodb("CreateTable", &table).await?;
        let expiry = json!({
            "TableName": name,
            "TimeToLiveSpecification": {"AttributeName": "expires_at", "Enabled": true},
        });
        self.dynamodb("UpdateTimeToLive", &expiry).await
    }

    /// Removes the table.
    pub async fn delete_table(&self, name: &str) -> Result<()> {
        self.dynamodb("DeleteTable", &json!({"TableName": name})).await
    }

    /// Lets an item of the state store expire now.
    pub async fn expire_item(&self, table: &str, key: &str) -> Result<()> {
        let now = UtcDateTime::now().unix_timestamp().to_string();
        let update = json!({
            "TableName": table, "Key": {"key": {"S": key}},
            "UpdateExpression": "set expires_at = :now",
            "ExpressionAttributeValues": {":now": {"N": now}},
        });
        self.dynamodb("UpdateItem", &update).await
    }

    /// Returns the first megabyte of a table's items.
    pub async fn items(&self, table: &str) -> Result<Value> {
        let table = json!({ "TableName": table });
        self.act("dynamodb", "DynamoDB_20120810.Scan", &table).await
    }

    async fn dynamodb(&self, action: &str, body: &Value) -> Result<()> {
        let target = format!("DynamoDB_20120810.{action}");
        self.act("dynamodb", &target, body).await.map(drop)
    }
}
