//! Checks the invariants after a run.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Figures;
use local_stack::system::System;

/// The most turns that a call carries, however short.
const LONGEST_HISTORY: usize = 500;

/// Records every time that a message is settled. A second time would leave no trace in its row.
const WATCH: &str = "
    create table settlements (number bigserial primary key, message_id uuid not null, status text not null);
    create function note_settlement() returns trigger language plpgsql as $$
    begin
        insert into settlements (message_id, status) values (new.id, new.status);
        return new;
    end $$;
    create trigger note_settlement after update on messages for each row
    when (new.settled_at is distinct from old.settled_at or new.reply is distinct from old.reply)
    execute function note_settlement()";

pub async fn watch_settlements(system: &System) -> Result<()> {
    Ok(system.database().await?.batch_execute(WATCH).await?)
}

async fn count(system: &System, sql: &str) -> Result<usize> {
    let row = system.database().await?.query_one(sql, &[]).await?;
    Ok(usize::try_from(row.get::<_, i64>(0))?)
}

/// Counts the messages that are not settled.
pub async fn unsettled(system: &System) -> Result<usize> {
    count(system, "select count(*) from messages where settled_at is null").await
}

/// Whether a message has come to its end.
pub async fn is_settled(system: &System, content: &str) -> Result<bool> {
    let sql = "select settled_at is not null from messages where content = $1";
    let row = system.database().await?.query_one(sql, &[&content]).await?;
    Ok(row.get(0))
}

/// Counts what was accepted, failed, lost and doubled.
pub async fn figures(system: &System, accepted: &[String], figures: &mut Figures) -> Result<()> {
    let settled = "select id::text from messages where status in ('answered', 'failed')";
    let settled = system.database().await?.query(settled, &[]).await?;
    let settled: HashSet<String> = settled.iter().map(|row| row.get(0)).collect();
    let distinct: HashSet<_> = accepted.iter().collect();
    let failed = "select count(*) from messages where status = 'failed'";
    let again = "select count(*) from (select from settlements group by message_id having count(*) > 1) again";
    let stored_again = settled.len().abs_diff(distinct.len()) + accepted.len().abs_diff(distinct.len());
    figures.accepted = accepted.len();
    figures.failed = count(system, failed).await?;
    figures.calls = system.gemini_calls().await?.len();
    figures.lost = distinct.iter().filter(|id| !settled.contains(**id)).count();
    figures.doubled = count(system, again).await? + stored_again;
    Ok(())
}

/// A message at its end.
struct Message {
    content: String,
    /// None when it failed.
    reply: Option<String>,
    settlement: i64,
}

/// Returns the messages of each room in their order.
async fn rooms(system: &System) -> Result<Vec<Vec<Message>>> {
    let sql = "
        select chatroom_id::text, content, reply, settlements.number
        from messages join settlements on message_id = messages.id
        where asked > 0 -- one that is stopped before its turn ends at once
        order by chatroom_id, position";
    let mut rooms: HashMap<String, Vec<Message>> = HashMap::new();
    for row in system.database().await?.query(sql, &[]).await? {
        rooms.entry(row.get(0)).or_default().push(Message {
            content: row.get(1),
            reply: row.get(2),
            settlement: row.get(3),
        });
    }
    Ok(rooms.into_values().collect())
}

/// How the prompts begin of those who deleted their account. Nothing else is left of them.
pub const LEAVING: &str = "leaving";

/// Checks that messages were answered in order, each with all earlier turns, and that users pay for those that did not
/// fail through our fault.
pub async fn order_history_and_counters(system: &System) -> Result<()> {
    let mut histories = HashMap::new();
    for room in rooms(system).await? {
        let mut turns: Vec<String> = Vec::new();
        let mut last = 0;
        for message in room {
            let content = message.content;
            ensure!(message.settlement > last, "“{content}” came to its end before the one before it");
            last = message.settlement;
            let skip = turns.len().saturating_sub(2 * LONGEST_HISTORY);
            let mut call = turns[skip..].to_vec();
            call.push(content.clone());
            histories.insert(content.clone(), call);
            if let Some(reply) = message.reply {
                turns.extend([content, reply]);
            }
        }
    }
    let mut calls = 0;
    for call in system.gemini_calls().await? {
        let turns = turns(&call);
        let prompt = turns.last().context("a call has a prompt")?;
        if prompt.starts_with(LEAVING) {
            continue;
        }
        calls += 1;
        ensure!(
            histories.get(prompt) == Some(&turns),
            "Gemini was asked “{prompt}” with another history than its room's"
        );
    }
    let wrong = "
        select count(*)
        from users
        where (select coalesce(sum(used), 0) from daily_usage where user_id = users.id)
              <> (select count(*) from messages
                  where user_id = users.id
                    and (failure is distinct from 'STOPPED' or asked > 0)
                    and (status = 'answered' or failure not in
                         ('EMPTY_REPLY', 'OTHER', 'REJECTED', 'MODEL_UNAVAILABLE', 'MODEL_QUOTA', 'GIVEN_UP')))";
    ensure!(count(system, wrong).await? == 0, "a counter is not what was accepted minus what failed through our fault");
    let asked = count(system, "select coalesce(sum(asked), 0)::int8 from messages").await?;
    ensure!(calls <= asked, "{calls} calls were made, and {asked} are accounted for");
    let left = format!(
        "select count(*) from messages
         where content like '{LEAVING}%' and user_id not in (select user_id from removals)"
    );
    ensure!(count(system, &left).await? == 0, "something is left of a user who left, and nobody will remove it");
    Ok(())
}

/// Returns the texts of a call's turns.
fn turns(call: &Value) -> Vec<String> {
    let contents = call["contents"].as_array().into_iter().flatten();
    let text = |content: &Value| content["parts"][0]["text"].as_str().map(str::to_owned);
    contents.filter_map(text).collect()
}
