//! TLS for Postgres and for every HTTP client: rustls with ring and embedded roots. Loading the system's roots would cost
//! milliseconds at every cold start.

use std::sync::Arc;

use reqwest::{Client, ClientBuilder};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{Der, TrustAnchor},
};
use webpki_roots::TLS_SERVER_ROOTS;

/// Of one authority for each region and kind of key; `build.rs` makes them of `rds-roots.pem`.
const RDS_ROOTS: &[TrustAnchor] = include!(concat!(env!("OUT_DIR"), "/rds_roots.rs"));

/// Who is trusted to say who a server is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Roots {
    /// Whom Mozilla trusts, and so most of the world.
    Mozilla,
    /// Amazon RDS, whose databases have certificates of its own authorities.
    Rds,
}

impl Roots {
    fn store(self) -> RootCertStore {
        let anchors = match self {
            Self::Mozilla => TLS_SERVER_ROOTS,
            Self::Rds => RDS_ROOTS,
        };
        anchors.iter().cloned().collect()
    }
}

/// A client configuration that trusts `roots`.
pub(crate) fn client(roots: Roots) -> Result<ClientConfig, rustls::Error> {
    Ok(
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots.store())
            .with_no_client_auth(),
    )
}

/// An HTTP client to be built, which trusts whom Mozilla trusts.
pub(crate) fn http() -> Result<ClientBuilder, rustls::Error> {
    Ok(Client::builder().tls_backend_preconfigured(client(Roots::Mozilla)?))
}

#[cfg(test)]
mod tests {
    //! The embedded certificates are whole.

    use super::*;

    #[test]
    fn every_authority_of_rds_is_trusted() {
        let bundle = include_str!("../data/rds-roots.pem");
        let certificates = bundle.matches("BEGIN CERTIFICATE").count();
        assert!(certificates > 80, "one for each region and kind of key");
        assert_eq!(Roots::Rds.store().len(), certificates);
    }
}
