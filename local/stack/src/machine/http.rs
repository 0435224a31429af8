//! Makes HTTP clients for the servers of this machine.

use std::sync::Arc;

use anyhow::{Context, Result};
use reqwest::{Client, ClientBuilder};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

/// Makes an HTTP client without root certificates: it talks to servers of this machine only.
pub fn client() -> Result<Client> {
    builder()?.build().context("cannot make an HTTP client")
}

/// Begins such a client.
pub fn builder() -> Result<ClientBuilder> {
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Ok(Client::builder().tls_backend_preconfigured(tls).no_proxy())
}
