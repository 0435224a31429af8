//! The figures of a run.

use std::fmt;

/// What happened, and what it did to the messages.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Messages that were posted, each until it was accepted.
    pub posts: usize,
    /// Requests that this took, those that failed included.
    pub requests: usize,
    /// Messages with a 202.
    pub accepted: usize,
    /// Those that ended failed.
    pub failed: usize,
    /// Processes that were killed.
    pub kills: usize,
    /// How often Postgres crashed and came back.
    pub restarts: usize,
    /// Wake-ups that came for nothing.
    pub duplicates: usize,
    /// Wake-ups that were lost.
    pub drops: usize,
    /// How often wake-ups were held back.
    pub delays: usize,
    /// How often somebody logged out everywhere, left for good, or changed the plan.
    pub accounts: usize,
    /// How often somebody stopped the reply to their newest message.
    pub stops: usize,
    /// How often a stranger guessed at a password.
    pub guesses: usize,
    /// Messages that Gemini answered badly each time.
    pub poisons: usize,
    /// How often one user posted in many rooms at once.
    pub floods: usize,
    /// How long the slowest reply to a stranger took during such a flood, in milliseconds.
    pub stranger_ms: u128,
    /// Calls that Gemini got.
    pub calls: usize,
    /// Messages with a 202 that are not there, or not at an end.
    pub lost: usize,
    /// Messages that were stored or settled more than once.
    pub doubled: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            posts,
            requests,
            accepted,
            failed,
            kills,
            restarts,
            duplicates,
            drops,
            delays,
            accounts,
            stops,
            guesses,
            poisons,
            floods,
            stranger_ms,
            calls,
            lost,
            doubled,
        } = self;
        write!(
            formatter,
            "posts {posts} (requests {requests}), accepted {accepted}, failed {failed}, kills {kills}, \
             restarts {restarts}, duplicates {duplicates}, drops {drops}, delays {delays}, accounts {accounts}, \
             stops {stops}, guesses {guesses}, poisons {poisons}, floods {floods}, \
             stranger's slowest reply {stranger_ms} ms, \
             calls of Gemini {calls}, lost {lost}, doubled {doubled}"
        )
    }
}
