//! Passes connections on to a service and writes down what went through, and when. It stands between a function and
//! its services only where calls are counted or told apart; warm requests are timed without it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::machine::{lock, ports::Port};

/// A running relay.
pub struct Relay {
    /// Where it listens, as `host:port`.
    pub address: String,
    passed: Passed,
    _tasks: JoinSet<()>,
}

type Passed = Arc<Mutex<Vec<Chunk>>>;

/// Something that went through.
#[derive(Clone)]
pub struct Chunk {
    pub connection: u64,
    pub at: Instant,
    pub what: What,
}

#[derive(Clone)]
pub enum What {
    Opened,
    Asked(Vec<u8>),
    Answered,
}

impl Relay {
    /// Listens on a free port for `target`, which is `host:port`.
    pub fn to(target: &str) -> Result<Self> {
        let listener = TcpListener::from_std(Port::Free.listen()?)?;
        let address = listener.local_addr()?.to_string();
        let passed = Passed::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target.to_owned(), passed.clone()));
        Ok(Self {
            address,
            passed,
            _tasks: tasks,
        })
    }

    /// What went through since the last time.
    pub fn take(&self) -> Vec<Chunk> {
        std::mem::take(&mut *lock(&self.passed))
    }
}

async fn accept(listener: TcpListener, target: String, passed: Passed) {
    let count = AtomicU64::default();
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let connection = count.fetch_add(1, Ordering::Relaxed);
        note(&passed, connection, What::Opened);
        let (target, passed) = (target.clone(), passed.clone());
        connections.spawn(async move {
            let Ok(server) = TcpStream::connect(target).await else {
                return;
            };
            let _ = client.set_nodelay(true).and(server.set_nodelay(true));
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let asked = |bytes: &[u8]| note(&passed, connection, What::Asked(bytes.to_vec()));
            let answered = |_: &[u8]| note(&passed, connection, What::Answered);
            tokio::select! {
                () = pass(&mut from_client, &mut to_server, asked) => {}
                () = pass(&mut from_server, &mut to_client, answered) => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Passes bytes on until either side closes.
async fn pass(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    note: impl Fn(&[u8]),
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        note(&buffer[..length]);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

fn note(passed: &Passed, connection: u64, what: What) {
    let at = Instant::now();
    lock(passed).push(Chunk {
        connection,
        at,
        what,
    });
}

/// How many requests contain `text`, whatever its case.
pub fn count(passed: &[Chunk], text: &str) -> usize {
    let text = text.to_lowercase();
    passed
        .iter()
        .filter_map(|chunk| match &chunk.what {
            What::Asked(bytes) => Some(String::from_utf8_lossy(bytes).to_lowercase()),
            _ => None,
        })
        .map(|request| request.matches(&text).count())
        .sum()
}

/// From when to when each connection was waited for: from its opening or its first request to its last answer.
pub fn spans(passed: &[Chunk]) -> Vec<(Instant, Instant)> {
    let mut connections: Vec<_> = passed.iter().map(|chunk| chunk.connection).collect();
    connections.sort_unstable();
    connections.dedup();
    let span = |connection| {
        let own = || {
            passed
                .iter()
                .filter(move |chunk| chunk.connection == connection)
        };
        let end = own().rfind(|chunk| matches!(chunk.what, What::Answered))?;
        Some((own().next()?.at, end.at))
    };
    connections.into_iter().filter_map(span).collect()
}

/// The time that is covered by any of some spans.
pub fn covered(mut spans: Vec<(Instant, Instant)>) -> Duration {
    spans.sort_unstable();
    let mut covered = Duration::ZERO;
    let mut end = None;
    for (from, to) in spans {
        let from = end.map_or(from, |end| from.max(end));
        covered += to.saturating_duration_since(from);
        end = Some(end.map_or(to, |end| to.max(end)));
    }
    covered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_two_spans_share_counts_once() {
        let at = |ms| Instant::now().checked_add(Duration::from_millis(ms));
        let start = at(0).unwrap();
        let at = |ms| start + Duration::from_millis(ms);
        let spans = vec![(at(5), at(20)), (at(0), at(10)), (at(30), at(31))];
        assert_eq!(covered(spans), Duration::from_millis(21));
    }
}
