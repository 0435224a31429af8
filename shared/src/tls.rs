//! TLS for Postgres and Gemini: rustls with ring and embedded roots. Loading the system's roots would cost
//! milliseconds at every cold start.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, crypto::ring};

/// A client configuration that trusts the roots Mozilla trusts.
pub(crate) fn client() -> Result<ClientConfig, rustls::Error> {
    let roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    Ok(
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}
