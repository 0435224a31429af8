//! Controls a running system for tests: looks inside, kills processes, holds parts still, and calls functions directly.

use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::System;
use crate::{
    lambda::{
        events::{scheduled_event, sqs_event},
        functions::worker,
        triggers::Gate,
    },
    services::{aws::Message, postgres::connect},
    settings::Queue,
};

impl System {
    /// Returns the Gemini stand-in's address, for its controls. The real one's has none.
    pub fn gemini_url(&self) -> Result<&str> {
        let url = self.gemini.as_ref().map(|gemini| gemini.url.as_str());
        url.context("this system asks the real Gemini")
    }

    /// Scripts the outcomes of the next calls of Gemini; see [`local_stand_ins::gemini::script::Outcome`].
    pub async fn script(&self, outcomes: &Value) -> Result<()> {
        let url = format!("{}/_script", self.gemini_url()?);
        let answer = self.client.post(url).json(outcomes).send().await?;
        if !answer.status().is_success() {
            bail!("the script is wrong: {}", answer.text().await?);
        }
        Ok(())
    }

    /// Returns the bodies that Gemini received.
    pub async fn gemini_calls(&self) -> Result<Vec<Value>> {
        let url = format!("{}/_calls", self.gemini_url()?);
        Ok(self.client.get(url).send().await?.json().await?)
    }

    /// Returns the Stripe stand-in's address, for its controls. The real one's has none.
    pub fn stripe_url(&self) -> Result<&str> {
        let url = self.stripe.as_ref().map(|stripe| stripe.url.as_str());
        url.context("this system asks the real Stripe")
    }

    /// Connects to this system's database.
    pub async fn database(&self) -> Result<tokio_postgres::Client> {
        connect(&self.variables["DATABASE_URL"]).await
    }

    /// Returns the processes of a function, idle or busy. A function has none before its first request, and after one
    /// died it gets another by the next request.
    pub fn pids(&self, function: &str) -> Vec<u32> {
        self.functions.pids(function)
    }

    /// Kills every process of a function by SIGKILL and returns how many there were.
    pub fn kill(&self, function: &str) -> Result<usize> {
        let pids = self.pids(function);
        for pid in pids.iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
            kill_process(pid, Signal::KILL)?;
        }
        Ok(pids.len())
    }

    /// Returns the gate of deliveries. `let paused = system.deliveries().pause().await;` holds it until `paused` is
    /// dropped.
    pub fn deliveries(&self) -> &Gate {
        &self.pump.deliveries
    }

    /// Returns the gate of scheduled calls, like the sweep.
    pub fn schedules(&self) -> &Gate {
        &self.pump.schedules
    }

    /// Calls a function with an event.
    pub async fn invoke(&self, function: &str, event: &Value) -> Result<Value> {
        self.gateway.invoke(function, event).await
    }

    /// Calls a scheduled function now.
    pub async fn run_schedule(&self, function: &str) -> Result<Value> {
        self.invoke(function, &scheduled_event(function)).await
    }

    /// Delivers message bodies as one batch, past the queue, and returns the consumer's result. Their ids are their
    /// numbers from 0.
    pub async fn deliver(&self, bodies: &[String]) -> Result<Value> {
        let message = |(number, body): (usize, &String)| Message {
            message_id: number.to_string(),
            body: body.clone(),
            ..Message::default()
        };
        let messages: Vec<_> = bodies.iter().enumerate().map(message).collect();
        let consumer = worker(Queue::Sqs);
        self.invoke(consumer, &sqs_event(self.queue_url(), &messages)).await
    }

    /// Delivers one wake-up for a chatroom, past the queue.
    pub async fn wake(&self, chatroom: &str) -> Result<Value> {
        self.deliver(&[self.wake_up(chatroom).await?]).await
    }

    /// Makes the queue message that wakes a chatroom.
    pub async fn wake_up(&self, chatroom: &str) -> Result<String> {
        let sql = "select user_id::text from chatrooms where id = $1::text::uuid";
        let database = self.database().await?;
        let owner: String = database.query_one(sql, &[&chatroom]).await?.get(0);
        Ok(json!({ "user_id": owner, "chatroom_id": chatroom }).to_string())
    }

    /// Returns the queue's URL. That of its dead-letter queue is the same with `-dead` at its end.
    pub fn queue_url(&self) -> &str {
        &self.variables["QUEUE_URL"]
    }

    /// Prints the functions' output from now on.
    pub fn show_logs(&self) {
        self.logs.show(true);
    }

    /// Stops printing why processes died, for tests that kill them.
    pub fn hide_logs(&self) {
        self.logs.silence();
    }

    /// Waits until some function panics, and returns its name with what it panicked at.
    pub fn panic(&self) -> impl Future<Output = Option<String>> + Send + use<> {
        self.logs.panic()
    }

    /// Returns the directory of the logs, which has a file for each function.
    pub fn logs(&self) -> &Path {
        self.logs.directory()
    }
}
