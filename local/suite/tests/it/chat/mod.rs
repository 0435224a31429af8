//! Chatrooms, their list, messages and replies.

mod conversations;
mod drain;
mod ids;
mod lists;
mod waits;
