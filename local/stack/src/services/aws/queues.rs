//! Makes, fills and empties SQS queues.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Aws;

/// The visibility timeout, which on AWS must exceed the function's timeout. The triggers return failures sooner.
pub const VISIBILITY_TIMEOUT: Duration = Duration::from_mins(18);

/// The number of receives after which a message goes to the dead-letter queue.
const MAX_RECEIVES: u32 = 5;

/// A received message.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Message {
    /// Its id.
    pub message_id: String,
    /// The handle that deletes it.
    pub receipt_handle: String,
    /// Its text.
    pub body: String,
    /// The checksum of its text.
    #[serde(rename = "MD5OfBody")]
    pub md5_of_body: String,
    /// The queue's attributes of it, such as `ApproximateReceiveCount`.
    pub attributes: Map<String, Value>,
}

impl Aws {
    /// Makes a queue and returns its URL. That of its dead-letter queue is the same with `-dead` at its end.
    pub async fn create_queue(&self, name: &str, visibility_timeout: Duration) -> Result<String> {
        let dead = json!({"QueueName": format!("{name}-dead")});
        let dead = self.sqs("CreateQueue", &dead).await?;
        let dead = self.queue_attributes(text(&dead, "QueueUrl")?).await?;
        let redrive = json!({
            "deadLetterTargetArn": text(&dead, "QueueArn")?,
            "maxReceiveCount": MAX_RECEIVES,
        });
        let queue = json!({"QueueName": name, "Attributes": {
            "VisibilityTimeout": visibility_timeout.as_secs().to_string(),
            "RedrivePolicy": redrive.to_string(),
        }});
        let queue = self.sqs("CreateQueue", &queue).await?;
        Ok(text(&queue, "QueueUrl")?.to_owned())
    }

    /// Removes a queue of [`Aws::create_queue`] with its dead-letter queue.
    pub async fn delete_queue(&self, url: &str) -> Result<()> {
        for url in [url, &format!("{url}-dead")] {
            self.sqs("DeleteQueue", &json!({"QueueUrl": url})).await?;
        }
        Ok(())
    }

    /// Reads the attributes of a queue: numbers are texts too.
    pub async fn queue_attributes(&self, url: &str) -> Result<Value> {
        let all = json!({"QueueUrl": url, "AttributeNames": ["All"]});
        Ok(self.sqs("GetQueueAttributes", &all).await?["Attributes"].take())
    }

    /// Puts a message into a queue.
    pub async fn send_message(&self, url: &str, body: &str) -> Result<()> {
        let message = json!({"QueueUrl": url, "MessageBody": body});
        self.sqs("SendMessage", &message).await.map(drop)
    }

    /// Takes up to ten messages out of a queue, which are seen again after its visibility timeout, and waits that long
    /// for the first.
    pub async fn receive_messages(&self, url: &str, wait: Duration) -> Result<Vec<Message>> {
        let request = json!({
            "QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": wait.as_secs(),
            "MessageSystemAttributeNames": ["All"],
        });
        let mut received = self.sqs("ReceiveMessage", &request).await?;
        let messages = Option::<Vec<Message>>::deserialize(received["Messages"].take())?;
        Ok(messages.unwrap_or_default())
    }

    /// Removes a received message for good.
    pub async fn delete_message(&self, url: &str, message: &Message) -> Result<()> {
        let delete = json!({"QueueUrl": url, "ReceiptHandle": message.receipt_handle});
        self.sqs("DeleteMessage", &delete).await.map(drop)
    }

    /// Lets a received message be seen again after so long.
    pub async fn return_message(&self, url: &str, message: &Message, after: Duration) -> Result<()> {
        let change = json!({
            "QueueUrl": url, "ReceiptHandle": message.receipt_handle, "VisibilityTimeout": after.as_secs(),
        });
        self.sqs("ChangeMessageVisibility", &change).await.map(drop)
    }

    async fn sqs(&self, action: &str, body: &Value) -> Result<Value> {
        self.act("sqs", &format!("AmazonSQS.{action}"), body).await
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    let text = value[name].as_str();
    text.with_context(|| format!("SQS returned no {name}: {value}"))
}
