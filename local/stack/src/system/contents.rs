//! Changes a system's queue and state store past the functions: adds, counts and loses messages, and lets entries
//! expire.

use std::time::Duration;

use anyhow::{Context, Result};
use redis::{AsyncCommands, aio::MultiplexedConnection};

use super::System;
use crate::settings::{Queue, State};

/// The Redis keys of the functions' wake-ups: those that wait for their time, and those that wait for their turn.
const WAKE_UPS: &str = "{wake-ups}";
const TURNS: &str = "{wake-ups}:turns";
const BELL: &str = "{wake-ups}:bell";
const DEAD: &str = "{wake-ups}:dead";

impl System {
    /// Returns the kind of its queue.
    pub fn queue_kind(&self) -> Queue {
        self.kind.0
    }

    /// Puts a message into the queue, whatever its body.
    pub async fn send_to_queue(&self, body: &str) -> Result<()> {
        match self.kind.0 {
            Queue::Sqs => {
                self.aws.send_message(self.queue_url(), body).await?;
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

    /// Counts the messages in the queue, including those that a consumer has and did not acknowledge.
    pub async fn queue_length(&self) -> Result<usize> {
        if self.kind.0 == Queue::Redis {
            let mut redis = self.redis().await?;
            let (waiting, due): (usize, usize) =
                redis::pipe().atomic().zcard(WAKE_UPS).zcard(TURNS).query_async(&mut redis).await?;
            return Ok(waiting + due);
        }
        let attributes = self.aws.queue_attributes(self.queue_url()).await?;
        let parts = ["", "NotVisible", "Delayed"];
        let counts = parts.map(|part| {
            let count = attributes[format!("ApproximateNumberOfMessages{part}")].as_str();
            count?.parse::<usize>().ok()
        });
        let counts: Option<usize> = counts.into_iter().sum();
        counts.with_context(|| format!("SQS does not count its messages: {attributes}"))
    }

    /// Loses the messages that wait in the queue, and returns how many.
    pub async fn lose_messages(&self) -> Result<usize> {
        if self.kind.0 == Queue::Redis {
            let mut redis = self.redis().await?;
            let mut lost = 0;
            for key in [WAKE_UPS, TURNS] {
                let members: usize = redis.zremrangebyrank(key, 0, -1).await?;
                lost += members;
            }
            return Ok(lost);
        }
        let (aws, queue) = (&self.aws, self.queue_url());
        let received = aws.receive_messages(queue, Duration::ZERO).await?;
        for message in &received {
            aws.delete_message(queue, message).await?;
        }
        Ok(received.len())
    }

    /// Returns the bodies of the dead letters.
    pub async fn dead_letters(&self) -> Result<Vec<String>> {
        if self.kind.0 == Queue::Redis {
            let members: Vec<String> = self.redis().await?.lrange(DEAD, 0, -1).await?;
            let body = |member: &String| Some(member.split_once(' ')?.1.to_owned());
            return Ok(members.iter().filter_map(body).collect());
        }
        let dead = format!("{}-dead", self.queue_url());
        let received = self.aws.receive_messages(&dead, Duration::ZERO).await?;
        for message in &received {
            let aws = &self.aws; // somebody else may look
            aws.return_message(&dead, message, Duration::ZERO).await?;
        }
        Ok(received.into_iter().map(|message| message.body).collect())
    }

    /// Lets an entry of the state store expire now.
    pub async fn expire(&self, key: &str) -> Result<()> {
        if self.kind.1 == State::Redis {
            return Ok(self.redis().await?.pexpire(format!("state:{key}"), 1).await?);
        }
        let table = &self.variables["STATE_TABLE"];
        self.aws.expire_item(table, key).await
    }

    /// Returns the keys of the state store, and in DynamoDB also the values, as text.
    pub async fn state(&self) -> Result<String> {
        if self.kind.1 == State::Redis {
            let keys: Vec<String> = self.redis().await?.keys("state:*").await?;
            return Ok(keys.join("\n"));
        }
        let items = self.aws.items(&self.variables["STATE_TABLE"]).await?;
        Ok(items.to_string())
    }

    async fn redis(&self) -> Result<MultiplexedConnection> {
        let url = self.variables.get("REDIS_URL");
        let client = redis::Client::open(url.context("there is no Redis")?.as_str())?;
        Ok(client.get_multiplexed_async_connection().await?)
    }
}
