//! A line to a service that can be cut, or fall silent as a network does.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use reqwest::Url;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Line {
    Open,
    /// Connections stay, and nothing goes through.
    Silent,
    /// Connections end, and so does every new one.
    Cut,
}

/// A TCP proxy before a service.
pub struct Proxy {
    /// The service's URL through the proxy.
    pub url: String,
    line: watch::Sender<Line>,
    broken: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Proxy {
    /// A proxy before the service at `url`, with its line open.
    pub async fn before(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut through = Url::parse(url).unwrap();
        let service = (
            through.host_str().unwrap().to_owned(),
            through.port().unwrap(),
        );
        let port = listener.local_addr().unwrap().port();
        through.set_port(Some(port)).unwrap();
        let (line, state) = watch::channel(Line::Open);
        let broken = Arc::<AtomicUsize>::default();
        let count = broken.clone();
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(serve(client, service.clone(), state.clone(), count.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            url: through.as_str().trim_end_matches('/').to_owned(),
            line,
            broken,
            server,
        }
    }

    pub fn cut(&self) {
        self.line.send_replace(Line::Cut);
    }

    pub fn fall_silent(&self) {
        self.line.send_replace(Line::Silent);
    }

    /// Lets new connections through. Those that fell silent end.
    pub fn heal(&self) {
        self.line.send_replace(Line::Open);
    }

    /// How many connections met a line that was not open. One that is silent counts once somebody speaks.
    pub fn broken(&self) -> usize {
        self.broken.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(
    mut client: TcpStream,
    service: (String, u16),
    mut line: watch::Receiver<Line>,
    broken: Arc<AtomicUsize>,
) {
    if *line.borrow_and_update() == Line::Open {
        let passing = async {
            let mut service = TcpStream::connect(service).await?;
            copy_bidirectional(&mut client, &mut service).await
        };
        tokio::select! {
            _ = passing => return,
            _ = line.changed() => {} // if only for a moment
        }
    }
    if *line.borrow() == Line::Silent {
        tokio::select! {
            _ = client.readable() => {} // somebody speaks, and nobody hears it
            _ = line.wait_for(|line| *line != Line::Silent) => {}
        }
    }
    broken.fetch_add(1, Ordering::Relaxed);
    let _ = line.wait_for(|line| *line != Line::Silent).await; // or the test is over
    drop(client);
}
