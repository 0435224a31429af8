//! Handles the machine: processes, ports, programs and the workspace. Nothing here knows the product.

pub mod http;
pub mod ports;
pub mod process;
pub mod progress;
pub mod tools;
pub mod workspace;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, also one that was held in a panic: single calls change its value.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
