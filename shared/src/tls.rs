//! Configures TLS for Postgres and for every HTTP client: rustls with ring and embedded root certificates.
//!
//! Loading the system's roots would cost 4 ms at every cold start.

use std::{sync::Arc, time::Duration};

use reqwest::{Client, ClientBuilder, redirect::Policy};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{Der, TrustAnchor},
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
}

impl Roots {
    fn store(self) -> RootCertStore {
        let (mozilla, rds) = match self {
            Self::Mozilla => (TLS_SERVER_ROOTS, &[][..]),
            Self::Rds => (&[][..], RDS_ROOTS),
            Self::All => (TLS_SERVER_ROOTS, RDS_ROOTS),
        };
        mozilla.iter().chain(rds).cloned().collect()
    }
}

/// Builds a client configuration that trusts `roots`.
pub(crate) fn client(roots: Roots) -> Result<ClientConfig, rustls::Error> {
    Ok(
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots.store())
            .with_no_client_auth(),
    )
}

/// Starts an HTTP client that trusts Mozilla's roots and follows no redirect: a redirect would take keys elsewhere, and
/// no API that is used here redirects.
pub(crate) fn http() -> Result<ClientBuilder, rustls::Error> {
    Ok(Client::builder()
        .tls_backend_preconfigured(client(Roots::Mozilla)?)
        .redirect(Policy::none())
        .pool_idle_timeout(IDLE_TIMEOUT))
}

#[cfg(test)]
mod tests {
    //! No embedded certificate is missing.

    use super::*;

    #[test]
    fn every_authority_of_rds_is_trusted() {
        let bundle = include_str!("../data/rds-roots.pem");
        let certificates = bundle.matches("BEGIN CERTIFICATE").count();
        assert!(certificates > 80, "one for each region and kind of key");
        assert_eq!(Roots::Rds.store().len(), certificates);
    }
}
