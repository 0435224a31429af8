//! Replies that are passed on while they are written.

mod client;
mod deaths;
mod live;
mod stopping;
