//! Configures TLS for Postgres and for every HTTP client: rustls with ring and embedded root certificates.
//!
//! Loading the system's roots would cost 4 ms at every cold start.

use std::{sync::Arc, time::Duration};

use reqwest::{Client, ClientBuilder, redirect::Policy};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, Der, TrustAnchor, pem::PemObject},
};
use webpki_roots::TLS_SERVER_ROOTS;

/// Closes idle connections before the other side does, so that no request meets one that is just being closed. AWS and
/// Stripe keep them for a minute or more.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Trusts the root certificates of Amazon RDS. `build.rs` renders them from `data/rds-roots.pem`.
const RDS_ROOTS: &[TrustAnchor] = include!(concat!(env!("OUT_DIR"), "/rds_roots.rs"));

/// Selects the root certificates that a server's certificate must lead to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Roots {
    /// Mozilla's root program, which public servers use.
    Mozilla,
    /// Amazon RDS's own roots, which its databases use and no public program includes.
    Rds,
    /// Both.
    All,
    /// Those of an authority of one's own, kept for as long as the process lives.
    Own(&'static RootCertStore),
}

impl Roots {
    /// Reads the choice: `mozilla`, `rds`, or certificates in PEM.
    pub fn named(choice: &str) -> Result<Self, String> {
        match choice {
            "mozilla" => Ok(Self::Mozilla),
            "rds" => Ok(Self::Rds),
            pem => Self::own(pem.as_bytes()),
        }
    }

    fn own(pem: &[u8]) -> Result<Self, String> {
        let wrong = |error| format!("neither mozilla nor rds nor certificates in PEM ({error})");
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            store.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
        if store.is_empty() {
            return Err(wrong("none was found".to_owned()));
        }
        Ok(Self::Own(Box::leak(Box::new(store))))
    }

    fn store(self) -> RootCertStore {
        let (mozilla, rds) = match self {
            Self::Mozilla => (TLS_SERVER_ROOTS, &[][..]),
            Self::Rds => (&[][..], RDS_ROOTS),
            Self::All => (TLS_SERVER_ROOTS, RDS_ROOTS),
            Self::Own(store) => return store.clone(),
        };
        mozilla.iter().chain(rds).cloned().collect()
    }
}

/// Builds a client configuration that trusts `roots`.
pub(crate) fn client(roots: Roots) -> Result<ClientConfig, rustls::Error> {
    Ok(ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots.store())
        .with_no_client_auth())
}

/// Begins an HTTP client that trusts Mozilla's roots and follows no redirect: a redirect would take keys elsewhere, and
/// no API that is used here redirects.
pub(crate) fn http() -> Result<ClientBuilder, rustls::Error> {
    Ok(Client::builder()
        .tls_backend_preconfigured(client(Roots::Mozilla)?)
        .redirect(Policy::none())
        .pool_idle_timeout(IDLE_TIMEOUT))
}

#[cfg(test)]
mod tests {
    //! No embedded certificate is missing, and no redirect is followed.

    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread,
    };

    use super::*;

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let elsewhere = "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n";
        let server = thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let _ = connection.read(&mut [0; 1_024]).unwrap();
            connection.write_all(elsewhere.as_bytes()).unwrap();
        });
        let response = http().unwrap().build().unwrap().get(url).send().await;
        assert_eq!(response.unwrap().status(), 307);
        server.join().unwrap();
    }

    #[test]
    fn every_authority_of_rds_is_trusted() {
        let bundle = include_str!("../data/rds-roots.pem");
        let certificates = bundle.matches("BEGIN CERTIFICATE").count();
        assert!(certificates > 80, "one for each region and kind of key");
        assert_eq!(Roots::Rds.store().len(), certificates);
        let own = Roots::named(bundle).unwrap();
        assert_eq!(own.store().len(), certificates, "the same in PEM");
    }

    #[test]
    fn roots_that_are_no_certificates_are_refused() {
        let cut = "-----BEGIN CERTIFICATE-----\nMIIB";
        for wrong in ["mozila", cut, &format!("{cut}\n-----END CERTIFICATE-----")] {
            let problem = Roots::named(wrong).unwrap_err();
            assert!(problem.starts_with("neither mozilla nor rds"), "{problem}");
        }
    }
}
