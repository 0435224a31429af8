//! A TCP proxy before a service: it can be cut, fall silent as a network does, and record what passes.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, Result};
use reqwest::Url;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_util::io::InspectReader;

use local_stack::machine::{lock, ports::Port};

/// A running proxy. Its connections end when it is dropped.
pub struct Proxy {
    /// The service's URL through the proxy.
    pub url: String,
    line: watch::Sender<Line>,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Line {
    Open,
    /// Connections stay, and nothing goes through.
    Silent,
    /// Connections end, and so does every new one.
    Cut,
}

/// What every connection of a proxy needs.
struct Shared {
    service: (String, u16),
    broken: AtomicUsize,
    connections: AtomicU64,
    /// `None` when nothing is recorded.
    record: Option<Mutex<Vec<Chunk>>>,
}

/// Something that a connection did.
#[derive(Clone)]
pub struct Chunk {
    /// The connection's number.
    pub connection: u64,
    /// When it happened.
    pub at: Instant,
    /// What happened.
    pub what: What,
}

/// What a connection can do.
#[derive(Clone)]
pub enum What {
    /// The client connected.
    Opened,
    /// The client sent these bytes.
    Sent(Vec<u8>),
    /// The service sent something.
    Received,
}

impl Proxy {
    /// Listens on a free port for the service at `url`.
    pub fn before(url: &str) -> Result<Self> {
        Self::start(Port::Free.listen()?, url, None)
    }

    /// Listens like [`Self::before`], and records what passes until it is taken.
    pub fn recording(url: &str) -> Result<Self> {
        Self::start(Port::Free.listen()?, url, Some(Mutex::default()))
    }

    /// Passes the connections of a listener on to the service at `url`.
    pub fn at(listener: std::net::TcpListener, url: &str) -> Result<Self> {
        Self::start(listener, url, None)
    }

    fn start(listener: std::net::TcpListener, url: &str, record: Option<Mutex<Vec<Chunk>>>) -> Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let mut through = Url::parse(url)?;
        let host = through.host_str().context("the URL has no host")?;
        let port = through.port().context("the URL has no port")?;
        let shared = Arc::new(Shared {
            service: (host.to_owned(), port),
            broken: AtomicUsize::default(),
            connections: AtomicU64::default(),
            record,
        });
        let _ = through.set_port(Some(listener.local_addr()?.port())); // fails for a URL without a host
        let (line, state) = watch::channel(Line::Open);
        let mut server = JoinSet::new();
        server.spawn(accept(listener, shared.clone(), state));
        Ok(Self { url: through.as_str().trim_end_matches('/').to_owned(), line, shared, _server: server })
    }

    /// Ends every connection, and each new one at once.
    pub fn cut(&self) {
        self.line.send_replace(Line::Cut);
    }

    /// Keeps every connection and passes nothing on.
    pub fn fall_silent(&self) {
        self.line.send_replace(Line::Silent);
    }

    /// Lets new connections through. Those that fell silent end.
    pub fn heal(&self) {
        self.line.send_replace(Line::Open);
    }

    /// Counts the connections that met a line that was not open. One that is silent counts once somebody speaks.
    pub fn broken(&self) -> usize {
        self.shared.broken.load(Ordering::Relaxed)
    }

    /// Takes what was recorded since the last time.
    pub fn take(&self) -> Vec<Chunk> {
        let record = self.shared.record.as_ref();
        record.map_or_else(Vec::new, |record| std::mem::take(&mut *lock(record)))
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, line: watch::Receiver<Line>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(serve(client, shared.clone(), line.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(client: TcpStream, shared: Arc<Shared>, mut line: watch::Receiver<Line>) {
    let connection = shared.connections.fetch_add(1, Ordering::Relaxed);
    shared.note(connection, || What::Opened);
    let mut client = InspectReader::new(client, |bytes| {
        shared.note(connection, || What::Sent(bytes.to_vec()));
    });
    if *line.borrow_and_update() == Line::Open {
        let passing = async {
            let service = TcpStream::connect(&shared.service).await?;
            client.get_ref().set_nodelay(true)?;
            service.set_nodelay(true)?;
            let mut service = InspectReader::new(service, |_| shared.note(connection, || What::Received));
            copy_bidirectional(&mut client, &mut service).await
        };
        tokio::select! {
            _ = passing => return,
            _ = line.changed() => {} // if only for a moment
        }
    }
    if *line.borrow() == Line::Silent {
        tokio::select! {
            _ = client.get_ref().readable() => {} // somebody speaks, and nobody hears it
            _ = line.wait_for(|line| *line != Line::Silent) => {}
        }
    }
    shared.broken.fetch_add(1, Ordering::Relaxed);
    let _ = line.wait_for(|line| *line != Line::Silent).await; // or the proxy is gone
    drop(client);
}

impl Shared {
    fn note(&self, connection: u64, what: impl FnOnce() -> What) {
        if let Some(record) = &self.record {
            let (at, what) = (Instant::now(), what());
            lock(record).push(Chunk { connection, at, what });
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_recording_proxy_keeps_what_the_client_sent_and_a_cut_one_ends_connections() {
        let service = TcpListener::from_std(Port::Free.listen().unwrap()).unwrap();
        let url = format!("http://{}/path", service.local_addr().unwrap());
        let proxy = Proxy::recording(&url).unwrap();
        let through = Url::parse(&proxy.url).unwrap();
        assert_eq!(through.path(), "/path");
        let address = format!("127.0.0.1:{}", through.port().unwrap());
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut server, _) = service.accept().await.unwrap();

        let mut bytes = [0; 4];
        client.write_all(b"ping").await.unwrap();
        server.read_exact(&mut bytes).await.unwrap();
        server.write_all(b"pong").await.unwrap();
        client.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"pong");
        let took = proxy.take();
        let what: Vec<_> = took.into_iter().map(|chunk| chunk.what).collect();
        assert!(matches!(&what[..], [What::Opened, What::Sent(bytes), What::Received] if bytes == b"ping"));

        proxy.cut();
        assert_eq!(client.read(&mut bytes).await.unwrap(), 0);
        assert_eq!(proxy.broken(), 1);
    }
}
