//! Makes the events that Lambda's triggers send.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::services::aws::Message;

/// Makes the event of a batch of SQS messages.
pub fn sqs_event(queue_url: &str, messages: &[Message]) -> Value {
    let queue = queue_url.rsplit('/').next().unwrap_or_default();
    let records = messages.iter().map(|message| {
        json!({
            "messageId": message.message_id,
            "receiptHandle": message.receipt_handle,
            "body": message.body,
            "attributes": message.attributes,
            "messageAttributes": {},
            "md5OfBody": message.md5_of_body,
            "eventSource": "aws:sqs",
            "eventSourceARN": format!("arn:aws:sqs:us-east-1:000000000000:{queue}"),
            "awsRegion": "us-east-1",
        })
    });
    json!({"Records": records.collect::<Vec<_>>()})
}

/// Makes the event that EventBridge sends for a schedule.
pub fn scheduled_event(rule: &str) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = OffsetDateTime::from(SystemTime::now()).replace_nanosecond(0);
    json!({
        "version": "0",
        "id": format!("{:032x}", now.as_nanos()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "000000000000",
        "time": time.ok().and_then(|time| time.format(&Rfc3339).ok()),
        "region": "us-east-1",
        "resources": [format!("arn:aws:events:us-east-1:000000000000:rule/{rule}")],
        "detail": {},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_carries_the_messages_id_attributes_and_queue() {
        let message = json!({
            "MessageId": "first", "Body": "{}", "Attributes": {"ApproximateReceiveCount": "3"},
        });
        let message: Message = serde_json::from_value(message).unwrap();
        let event = sqs_event("http://127.0.0.1/000000000000/queue", &[message]);
        let record = &event["Records"][0];
        assert_eq!(record["messageId"], "first");
        assert_eq!(record["attributes"]["ApproximateReceiveCount"], "3");
        assert_eq!(record["eventSourceARN"], "arn:aws:sqs:us-east-1:000000000000:queue");
    }
}
