//! TLS before Postgres, as on AWS: the one that runs here has none.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::Url;
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use local_stack::machine::ports::Port;

/// What a client asks first when it wants TLS, and the answer.
/// See <https://www.postgresql.org/docs/18/protocol-message-formats.html>.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const WILLING: &[u8] = b"S";

/// Takes TLS from connections and passes them on to Postgres. It ends when this is dropped.
pub struct Tls {
    /// The database's URL through it, which asks for TLS.
    pub url: String,
    /// The certificate that vouches for it, in PEM.
    pub roots: String,
    _server: JoinSet<()>,
}

impl Tls {
    /// Listens before the database at `url`, with a new certificate for this machine's address.
    pub fn before(url: &str) -> Result<Self> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));

        let listener = TcpListener::from_std(Port::Free.listen()?)?;
        let mut through = Url::parse(url)?;
        let port = through.port().context("the URL has no port")?;
        let _ = through.set_port(Some(listener.local_addr()?.port())); // fails for a URL without a host
        through.set_query(Some("sslmode=require"));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass(client, acceptor.clone(), port));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { url: through.into(), roots: cert.pem(), _server: server })
    }
}

/// Passes one connection on until either side closes it.
async fn pass(mut client: TcpStream, acceptor: TlsAcceptor, port: u16) -> Result<()> {
    let mut request = [0; SSL_REQUEST.len()];
    client.read_exact(&mut request).await?;
    if request != SSL_REQUEST {
        bail!("the client does not ask for TLS");
    }
    client.set_nodelay(true)?;
    client.write_all(WILLING).await?;
    let mut client = acceptor.accept(client).await?;
    let mut postgres = TcpStream::connect(("127.0.0.1", port)).await?;
    postgres.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut postgres).await?;
    Ok(())
}
