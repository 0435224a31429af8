//! What a system's queue and state store hold, past the functions: to add messages, to lose some, to see what is left,
//! and to let time pass.

use anyhow::{Context, Result};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::QueueAttributeName;
use redis::{AsyncCommands, aio::MultiplexedConnection};

use super::System;
use crate::settings::{Queue, State};

/// Where the functions keep wake-ups in Redis.
const WAKE_UPS: &str = "{wake-ups}";
const BELL: &str = "{wake-ups}:bell";
const DEAD: &str = "{wake-ups}:dead";

/// More than a test has under way.
const MANY: i32 = 10;

impl System {
    /// What carries its wake-ups.
    pub fn queue_kind(&self) -> Queue {
        self.kind.0
    }

    /// Puts a message into the queue, whatever its body.
    pub async fn send_to_queue(&self, body: &str) -> Result<()> {
        match self.kind.0 {
            Queue::Sqs => {
                let send = self.aws.sqs.send_message().queue_url(self.queue_url());
                send.message_body(body).send().await?;
            }
            Queue::Redis => {
                let member = format!("{} {body}", uuid::Uuid::now_v7());
                let mut redis = self.redis().await?;
                let () = redis.zadd(WAKE_UPS, member, 0).await?;
                let () = redis.lpush(BELL, 1).await?;
            }
        }
        Ok(())
    }

    /// How many messages are in the queue, those that a consumer has and did not acknowledge among them.
    pub async fn queue_length(&self) -> Result<usize> {
        if self.kind.0 == Queue::Redis {
            return Ok(self.redis().await?.zcard(WAKE_UPS).await?);
        }
        let parts = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let attributes = self
            .aws
            .sqs
            .get_queue_attributes()
            .queue_url(self.queue_url());
        let attributes = attributes.set_attribute_names(Some(parts.into()));
        let attributes = attributes.send().await?.attributes.unwrap_or_default();
        let counts = attributes.values().map(|count| count.parse::<usize>());
        counts
            .sum::<Result<usize, _>>()
            .context("SQS counts in numbers")
    }

    /// Loses the messages that wait in the queue, and says how many those were.
    pub async fn lose_messages(&self) -> Result<usize> {
        if self.kind.0 == Queue::Redis {
            let mut redis = self.redis().await?;
            return Ok(redis.zremrangebyrank(WAKE_UPS, 0, -1).await?);
        }
        let receive = self.aws.sqs.receive_message().queue_url(self.queue_url());
        let received = receive.max_number_of_messages(MANY).send().await?;
        for message in received.messages() {
            let delete = self.aws.sqs.delete_message().queue_url(self.queue_url());
            let receipt = message.receipt_handle().unwrap_or_default();
            delete.receipt_handle(receipt).send().await?;
        }
        Ok(received.messages().len())
    }

    /// The bodies of the messages that ended among the dead letters.
    pub async fn dead_letters(&self) -> Result<Vec<String>> {
        if self.kind.0 == Queue::Redis {
            let members: Vec<String> = self.redis().await?.lrange(DEAD, 0, -1).await?;
            let body = |member: &String| Some(member.split_once(' ')?.1.to_owned());
            return Ok(members.iter().filter_map(body).collect());
        }
        let dead = format!("{}-dead", self.queue_url());
        let receive = self.aws.sqs.receive_message().queue_url(dead);
        let receive = receive.max_number_of_messages(MANY).visibility_timeout(0);
        let bodies = receive.send().await?.messages.unwrap_or_default();
        Ok(bodies
            .into_iter()
            .filter_map(|message| message.body)
            .collect())
    }

    /// Lets an entry of the state store expire now.
    pub async fn expire(&self, key: &str) -> Result<()> {
        if self.kind.1 == State::Redis {
            return Ok(self
                .redis()
                .await?
                .pexpire(format!("state:{key}"), 1)
                .await?);
        }
        let update = self.aws.dynamodb.update_item();
        let update = update.table_name(&self.variables["STATE_TABLE"]);
        let update = update.key("key", AttributeValue::S(key.to_owned()));
        let update = update.update_expression("set expires_at = :now");
        let now = AttributeValue::N(time::UtcDateTime::now().unix_timestamp().to_string());
        update
            .expression_attribute_values(":now", now)
            .send()
            .await?;
        Ok(())
    }

    async fn redis(&self) -> Result<MultiplexedConnection> {
        let url = self.variables.get("REDIS_URL");
        let client = redis::Client::open(url.context("there is no Redis")?.as_str())?;
        Ok(client.get_multiplexed_async_connection().await?)
    }
}
