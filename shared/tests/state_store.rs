//! Tests the contract of the state store against every adapter: expiry, atomicity, and counters at the edge of a
//! window.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must stop")]

use std::time::Duration;

use futures_util::future::join_all;
use shared::{
    Error,
    domain::SessionId,
    state::{Choice, Limit, StateStore},
};
use tokio::time::sleep;

const LONG: Duration = Duration::from_mins(1);
const SHORT: Duration = Duration::from_secs(1);

/// Whole seconds may be rounded up, and a test may be late, never early.
const AFTER_SHORT: Duration = Duration::from_millis(2_100);

const PARALLEL: usize = 50;

fn store(choice: Choice) -> StateStore {
    StateStore::open(choice).expect("run the tests with `cargo local test`")
}

fn key() -> String {
    format!("contract:{}", SessionId::new())
}

fn limit(times: u32, window: Duration) -> Limit {
    Limit { policy: "contract", detail: "Too many.", times, window }
}

/// Runs each rule against each adapter, as a test of its own.
macro_rules! rules {
    ($($rule:ident),+ $(,)?) => {
        mod dynamodb {
            use super::*;
            $(#[tokio::test] async fn $rule() { super::$rule(store(Choice::DynamoDb)).await; })+
        }
        mod redis {
            use super::*;
            $(#[tokio::test] async fn $rule() { super::$rule(store(Choice::Redis)).await; })+
        }
    };
}

rules!(
    a_value_is_read_back_until_it_expires,
    an_expired_key_is_free_again,
    one_of_many_puts_wins,
    a_value_is_replaced_only_if_it_is_the_expected_one,
    one_of_many_replacements_wins,
    one_of_many_removals_wins,
    an_expired_value_is_neither_replaced_nor_removed,
    a_removed_value_is_gone,
    a_limit_holds_under_parallel_counting,
    a_window_starts_with_its_first_count_and_ends,
    a_count_that_is_given_back_is_free_again_and_none_below_nought,
    a_limit_of_zero_allows_nothing,
);

async fn a_value_is_read_back_until_it_expires(store: StateStore) {
    let key = key();
    assert_eq!(store.get(&key).await.unwrap(), None);
    assert!(store.put_if_absent(&key, "a", SHORT).await.unwrap());
    assert_eq!(store.get(&key).await.unwrap().as_deref(), Some("a"));
    sleep(AFTER_SHORT).await;
    assert_eq!(store.get(&key).await.unwrap(), None);
}

async fn an_expired_key_is_free_again(store: StateStore) {
    let key = key();
    assert!(store.put_if_absent(&key, "a", SHORT).await.unwrap());
    assert!(!store.put_if_absent(&key, "b", LONG).await.unwrap());
    sleep(AFTER_SHORT).await;
    assert!(store.put_if_absent(&key, "b", LONG).await.unwrap());
    assert_eq!(store.get(&key).await.unwrap().as_deref(), Some("b"));
}

async fn one_of_many_puts_wins(store: StateStore) {
    let key = key();
    let values: Vec<String> = (0..PARALLEL).map(|n| n.to_string()).collect();
    let puts = values.iter().map(|value| store.put_if_absent(&key, value, LONG));
    let won: Vec<bool> = join_all(puts).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    let winner = won.iter().position(|won| *won).unwrap();
    assert_eq!(store.get(&key).await.unwrap().as_ref(), Some(&values[winner]));
}

async fn a_value_is_replaced_only_if_it_is_the_expected_one(store: StateStore) {
    let key = key();
    assert!(!store.replace_if(&key, "a", "b", LONG).await.unwrap(), "there is nothing yet");
    store.put_if_absent(&key, "a", LONG).await.unwrap();
    assert!(!store.replace_if(&key, "x", "b", LONG).await.unwrap());
    assert!(store.replace_if(&key, "a", "b", LONG).await.unwrap());
    assert_eq!(store.get(&key).await.unwrap().as_deref(), Some("b"));
}

async fn one_of_many_replacements_wins(store: StateStore) {
    let key = key();
    store.put_if_absent(&key, "before", LONG).await.unwrap();
    let replacements = (0..PARALLEL).map(|_| store.replace_if(&key, "before", "after", LONG));
    let won = join_all(replacements).await;
    assert_eq!(won.into_iter().filter(|won| matches!(won, Ok(true))).count(), 1);
}

async fn one_of_many_removals_wins(store: StateStore) {
    let key = key();
    store.put_if_absent(&key, "code", LONG).await.unwrap();
    assert!(!store.remove_if(&key, "guess").await.unwrap());
    let removals = (0..PARALLEL).map(|_| store.remove_if(&key, "code"));
    let won = join_all(removals).await;
    assert_eq!(won.into_iter().filter(|won| matches!(won, Ok(true))).count(), 1);
    assert_eq!(store.get(&key).await.unwrap(), None);
}

async fn an_expired_value_is_neither_replaced_nor_removed(store: StateStore) {
    let key = key();
    store.put_if_absent(&key, "a", SHORT).await.unwrap();
    sleep(AFTER_SHORT).await;
    assert!(!store.replace_if(&key, "a", "b", LONG).await.unwrap());
    assert!(!store.remove_if(&key, "a").await.unwrap());
}

async fn a_removed_value_is_gone(store: StateStore) {
    let key = key();
    store.remove(&key).await.unwrap();
    store.put_if_absent(&key, "marker", LONG).await.unwrap();
    store.remove(&key).await.unwrap();
    assert!(!store.replace_if(&key, "marker", "list", LONG).await.unwrap());
    assert_eq!(store.get(&key).await.unwrap(), None);
}

async fn a_limit_holds_under_parallel_counting(store: StateStore) {
    let (key, limit) = (key(), limit(7, LONG));
    let counts = join_all((0..PARALLEL).map(|_| store.count(&key, &limit))).await;
    assert_eq!(counts.iter().filter(|count| count.is_ok()).count(), 7);
    for refused in counts.into_iter().filter_map(Result::err) {
        let Error::OverLimit(over) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(over.limit, 7);
        assert!(!over.retry_after.is_zero() && over.retry_after <= LONG + SHORT, "{over:?}");
    }
}

async fn a_window_starts_with_its_first_count_and_ends(store: StateStore) {
    let (key, limit) = (key(), limit(2, SHORT));
    for _ in 0..2 {
        store.count(&key, &limit).await.unwrap();
    }
    assert!(matches!(store.count(&key, &limit).await, Err(Error::OverLimit(_))));
    sleep(AFTER_SHORT).await;
    // A new window has all of its room, also under many callers at once.
    let counts = join_all((0..PARALLEL).map(|_| store.count(&key, &limit))).await;
    assert_eq!(counts.iter().filter(|count| count.is_ok()).count(), 2);
}

async fn a_limit_of_zero_allows_nothing(store: StateStore) {
    let counted = store.count(&key(), &limit(0, LONG)).await;
    assert!(matches!(counted, Err(Error::OverLimit(_))), "{counted:?}");
}

async fn a_count_that_is_given_back_is_free_again_and_none_below_nought(store: StateStore) {
    let (key, limit) = (key(), limit(2, LONG));
    for _ in 0..3 {
        store.give_back(&key).await.unwrap();
    }
    for _ in 0..2 {
        store.count(&key, &limit).await.unwrap();
    }
    store.give_back(&key).await.unwrap();
    let counts = join_all((0..PARALLEL).map(|_| store.count(&key, &limit))).await;
    assert_eq!(counts.iter().filter(|count| count.is_ok()).count(), 1);
    for _ in 0..3 {
        store.give_back(&key).await.unwrap();
    }
    let counts = join_all((0..PARALLEL).map(|_| store.count(&key, &limit))).await;
    assert_eq!(counts.iter().filter(|count| count.is_ok()).count(), 2);
}
