//! The consumer of a queue that invokes nobody, such as Redis: takes wake-ups and answers their rooms.
//!
//! On Lambda it is scheduled every minute and drains for its minute; the next one has begun by then. Outside Lambda it
//! is a plain process, say beside ElastiCache, that drains until it is told to stop. Either way it finishes what it
//! began.

use std::{env, time::Duration};

use futures_util::{StreamExt, stream};
use lambda_runtime::{Error, LambdaEvent};
use serde_json::Value;
use shared::{
    answering::Answering,
    config::ConfigError,
    database::Database,
    queue::{Delivery, Queue},
    telemetry::{self, Chain},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};
use tracing::{error, info};

/// How many rooms are answered at a time. Their time is spent waiting for the model.
const CONCURRENCY: usize = 50;

/// How long a scheduled invocation takes wake-ups: until the next one does.
const SHIFT: Duration = Duration::from_mins(1);

/// How long to wait for a wake-up at a time.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long to leave a queue alone that does not answer.
const PAUSE: Duration = Duration::from_secs(1);

struct App {
    queue: Queue,
    answering: Answering,
}

impl App {
    fn from_env() -> Result<Self, ConfigError> {
        Ok(Self { queue: Queue::from_env()?, answering: Answering::from_env(Database::from_env()?)? })
    }

    /// Takes wake-ups until `stop`, and replies to one message in the room of each.
    async fn drain(&self, stop: impl Future<Output = ()>) {
        stream::repeat(())
            .then(|()| self.receive())
            .take_until(stop)
            .flat_map(stream::iter)
            .for_each_concurrent(CONCURRENCY, |delivery| self.handle(delivery))
            .await;
    }

    async fn receive(&self) -> Vec<Delivery> {
        match self.queue.receive(PATIENCE).await {
            Ok(deliveries) => deliveries,
            Err(error) => {
                error!(error = %Chain(&*error), "the queue does not answer");
                sleep(PAUSE).await;
                Vec::new()
            }
        }
    }

    async fn handle(&self, delivery: Delivery) {
        let settled = match delivery.wake_up() {
            Ok(wake_up) => match self.answering.answer(wake_up).await {
                Ok(()) => self.queue.acknowledge(&delivery).await,
                // Without an acknowledgement it comes again.
                Err(error) => Err(error.into()),
            },
            Err(error) => {
                error!(error = %Chain(&error), "a queue message is no wake-up");
                self.queue.reject(&delivery).await
            }
        };
        if let Err(error) = settled {
            error!(error = %Chain(&*error), "a wake-up was not taken care of");
        }
    }
}

async fn drain_for_a_shift(app: &App, _: LambdaEvent<Value>) -> Result<(), Error> {
    app.drain(sleep(SHIFT)).await;
    Ok(())
}

async fn drain_until_told_to_stop() -> Result<(), Error> {
    telemetry::init();
    let app = App::from_env()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("stopping: no more wake-ups are taken");
    };
    app.drain(stop).await;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    if env::var_os("AWS_LAMBDA_RUNTIME_API").is_none() {
        return drain_until_told_to_stop().await;
    }
    shared::run(App::from_env, drain_for_a_shift).await
}
