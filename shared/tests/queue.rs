//! Tests the contract of the queue against every adapter: delivery, delay, redelivery after a crash, several consumers.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must stop")]

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use shared::{
    domain::{ChatroomId, UserId},
    queue::{Choice, Delivery, Queue, WakeUp},
};
use tokio::sync::{Mutex, MutexGuard};

const PATIENCE: Duration = Duration::from_secs(2);

/// The rules share a queue, so they take turns.
static TURN: Mutex<()> = Mutex::const_new(());

async fn queue(choice: Choice) -> (Queue, MutexGuard<'static, ()>) {
    let turn = TURN.lock().await;
    (Queue::open(choice).expect("run the tests with `cargo local test`"), turn)
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
    rooms_are_woken_together,
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
async fn receive(queue: &Queue, rooms: &[ChatroomId], wanted: usize, patience: Duration) -> Vec<Delivery> {
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
    assert!(sent.elapsed() >= delay, "it came after {:?}", sent.elapsed());
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

async fn rooms_are_woken_together(queue: Queue) {
    let rooms: Vec<_> = (0..25).map(|_| ChatroomId::new()).collect();
    let wake_ups = rooms.iter().map(|room| WakeUp { user_id: UserId::new(), chatroom_id: *room });
    let wake_ups: HashSet<_> = wake_ups.collect();
    let all: Vec<_> = wake_ups.iter().copied().collect();
    let sent = queue.wake_all(&all, Duration::from_secs(5)).await;
    assert_eq!(sent.into_iter().collect::<HashSet<_>>(), wake_ups);
    let received = receive(&queue, &rooms, rooms.len(), 5 * PATIENCE).await;
    let woken: HashSet<_> = received.iter().map(|delivery| delivery.wake_up().unwrap()).collect();
    assert_eq!(woken, wake_ups);
    for delivery in &received {
        queue.acknowledge(delivery).await.unwrap();
    }
}

/// SQS does the same by its fair queueing.
#[tokio::test]
async fn each_user_has_one_wake_up_in_each_turn_of_the_redis_queue() {
    let (queue, _turn) = queue(Choice::Redis).await;
    let [flood, first, second] = [UserId::new(), UserId::new(), UserId::new()];
    for _ in 0..50 {
        queue.wake(ChatroomId::new(), flood).await;
    }
    for stranger in [first, second] {
        for _ in 0..2 {
            queue.wake(ChatroomId::new(), stranger).await;
        }
    }
    let users = async |queue: &Queue| {
        let received = queue.receive(Duration::from_secs(1)).await.unwrap();
        for delivery in &received {
            queue.acknowledge(delivery).await.unwrap();
        }
        let users = received.iter().map(|delivery| delivery.wake_up().unwrap().user_id);
        users.collect::<Vec<_>>()
    };
    let turns = users(&queue).await;
    assert_eq!(turns[..6], [flood, first, second, flood, first, second]);
    assert_eq!(turns[6..], [flood; 4]);

    // Who comes later comes into the current turn, not after the backlog.
    queue.wake(ChatroomId::new(), first).await;
    assert_eq!(users(&queue).await[0], first);
    while !users(&queue).await.is_empty() {}
}
