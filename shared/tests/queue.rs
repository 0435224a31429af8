//! Tests the contract of the queue against every adapter: delivery, delay, redelivery after a crash, several consumers.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on must stop"
)]

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use shared::{
    domain::{ChatroomId, UserId},
    queue::{Choice, Delivery, Queue},
};
use tokio::sync::{Mutex, MutexGuard};

const PATIENCE: Duration = Duration::from_secs(2);

/// The rules share a queue, so they take turns.
static TURN: Mutex<()> = Mutex::const_new(());

async fn queue(choice: Choice) -> (Queue, MutexGuard<'static, ()>) {
    let turn = TURN.lock().await;
    (
        Queue::open(choice).expect("run the tests with `cargo local test`"),
        turn,
    )
}

/// Runs each rule against each adapter, as a test of its own.
macro_rules! rules {
    ($($rule:ident),+ $(,)?) => {
        mod sqs {
            use super::*;
            $(#[tokio::test] async fn $rule() {
                let (queue, _turn) = queue(Choice::Sqs).await;
                super::$rule(queue).await;
            })+
        }
        mod redis {
            use super::*;
            $(#[tokio::test] async fn $rule() {
                let (queue, _turn) = queue(Choice::Redis).await;
                super::$rule(queue).await;
            })+
        }
    };
}

rules!(
    a_wake_up_is_received_once_and_not_after_its_acknowledgement,
    a_delayed_wake_up_comes_after_its_delay,
    the_same_room_can_be_woken_twice,
    a_consumer_that_waits_is_woken,
    a_wake_up_that_was_not_acknowledged_comes_again,
    many_consumers_share_the_wake_ups,
);

/// The room of a delivery.
fn room(delivery: &Delivery) -> ChatroomId {
    delivery.wake_up().unwrap().chatroom_id
}

/// Receives until `wanted` wake-ups of `rooms` came, or for `patience`. Others are left over from before.
async fn receive(
    queue: &Queue,
    rooms: &[ChatroomId],
    wanted: usize,
    patience: Duration,
) -> Vec<Delivery> {
    let start = Instant::now();
    let mut received = Vec::new();
    while received.len() < wanted && start.elapsed() < patience {
        for delivery in queue.receive(Duration::from_secs(1)).await.unwrap() {
            if rooms.contains(&room(&delivery)) {
                received.push(delivery);
            } else {
                queue.acknowledge(&delivery).await.unwrap();
            }
        }
    }
    received
}

async fn a_wake_up_is_received_once_and_not_after_its_acknowledgement(queue: Queue) {
    let rooms = [ChatroomId::new()];
    queue.wake(rooms[0], UserId::new()).await;
    let received = receive(&queue, &rooms, 1, PATIENCE).await;
    assert_eq!(received.len(), 1);
    queue.acknowledge(&received[0]).await.unwrap();
    assert!(receive(&queue, &rooms, 1, PATIENCE).await.is_empty());
}

async fn a_delayed_wake_up_comes_after_its_delay(queue: Queue) {
    let rooms = [ChatroomId::new()];
    let sent = Instant::now();
    let delay = Duration::from_secs(2);
    queue.wake_after(delay, rooms[0], UserId::new()).await;
    let received = receive(&queue, &rooms, 1, Duration::from_secs(10)).await;
    assert_eq!(received.len(), 1);
    assert!(
        sent.elapsed() >= delay,
        "it came after {:?}",
        sent.elapsed()
    );
    queue.acknowledge(&received[0]).await.unwrap();
}

async fn the_same_room_can_be_woken_twice(queue: Queue) {
    let rooms = [ChatroomId::new()];
    for _ in 0..2 {
        queue.wake(rooms[0], UserId::new()).await;
    }
    let received = receive(&queue, &rooms, 2, PATIENCE).await;
    assert_eq!(received.len(), 2);
    for delivery in &received {
        queue.acknowledge(delivery).await.unwrap();
    }
}

async fn a_consumer_that_waits_is_woken(queue: Queue) {
    let rooms = [ChatroomId::new()];
    let sender = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        queue.wake(rooms[0], UserId::new()).await;
    };
    let (received, ()) = tokio::join!(receive(&queue, &rooms, 1, Duration::from_secs(10)), sender);
    assert_eq!(received.len(), 1);
    queue.acknowledge(&received[0]).await.unwrap();
}

async fn a_wake_up_that_was_not_acknowledged_comes_again(queue: Queue) {
    let rooms = [ChatroomId::new()];
    queue.wake(rooms[0], UserId::new()).await;
    let first = receive(&queue, &rooms, 1, PATIENCE).await;
    assert_eq!(first.len(), 1);
    // The consumer crashes here; the queue knows after its visibility time.
    let again = receive(&queue, &rooms, 1, Duration::from_mins(1)).await;
    assert_eq!(again.len(), 1);
    queue.acknowledge(&again[0]).await.unwrap();
}

async fn many_consumers_share_the_wake_ups(queue: Queue) {
    const CONSUMERS: usize = 8;
    let rooms: Vec<_> = (0..100).map(|_| ChatroomId::new()).collect();
    join_all(rooms.iter().map(|room| queue.wake(*room, UserId::new()))).await;
    let consume = async || {
        let mut mine = Vec::new();
        loop {
            let received = receive(&queue, &rooms, 1, PATIENCE).await;
            if received.is_empty() {
                return mine;
            }
            for delivery in received {
                queue.acknowledge(&delivery).await.unwrap();
                mine.push(room(&delivery));
            }
        }
    };
    let taken: Vec<_> = join_all((0..CONSUMERS).map(|_| consume())).await.concat();
    let distinct: HashSet<_> = taken.iter().copied().collect();
    assert_eq!(distinct.len(), rooms.len(), "every wake-up was received");
    assert_eq!(taken.len(), rooms.len(), "none was received twice");
}
