//! Shows that a worker lives, and keeps what it has so far.

use std::time::Duration;

use super::{Lease, Result};
use crate::database::Database;

/// Prolongs the lease, unless it was given back, stores the draft, and returns whether the reply is to stop.
const CHECKPOINT: &str = "
    -- $1 user, $2 room, $3 epoch, $4 message, $5 seconds of the lease, $6 draft
    with room as (
        update chatrooms set answering_until = now() + make_interval(secs => $5)
        where user_id = $1 and id = $2 and epoch = $3 and answering_until is not null
        returning id
    )
    update messages
    set draft = $6
    from room
    where messages.user_id = $1 and messages.id = $4 and messages.status = 'answering'
    returning stop_requested_at is not null as is_to_stop";

impl Lease {
    /// Prolongs the lease from now on, stores the reply as far as it is written, and returns whether it is to stop.
    /// `None` means that another worker has the room, or nobody any more.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn checkpoint(&self, database: &Database, lease: Duration, draft: &str) -> Result<Option<bool>> {
        let row = database
            .query_opt(
                CHECKPOINT,
                &[&self.user, &self.chatroom, &self.epoch, &self.message, &lease.as_secs_f64(), &draft],
            )
            .await?;
        Ok(row.map(|row| row.get("is_to_stop")))
    }
}
