//! Stand-ins for the vendors that nobody runs on a machine of their own.

#![expect(
    clippy::missing_errors_doc,
    clippy::must_use_candidate,
    reason = "nobody but this workspace uses it, and its errors are shown to people, never matched"
)]

pub mod gemini;
pub mod stripe;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, also one that was held in a panic: single calls change its value.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
