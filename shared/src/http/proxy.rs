//! Finds the address of a client, also behind a trusted proxy such as CloudFront.
//!
//! Behind a proxy every connection comes from the proxy, so everybody would share the limits of one address. A proxy
//! that knows `TRUSTED_PROXY_SECRET` proves itself by the header [`SECRET_HEADER`], and is then believed about its
//! client. Any other request has the address that API Gateway saw, whatever its headers say.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use lambda_http::{Request, RequestExt, request::RequestContext};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::config::{self, ConfigError};

/// The header in which a trusted proxy sends its secret.
const SECRET_HEADER: &str = "x-proxy-secret";

/// The shortest secret that nobody guesses.
const SHORTEST_SECRET: usize = 32;

/// Holds the secrets of the trusted proxy: none, one, or two while one replaces the other.
pub struct TrustedProxy(Vec<SecretString>);

impl TrustedProxy {
    /// Reads `TRUSTED_PROXY_SECRET`: a secret of at least 32 characters; two, separated by a comma, while one replaces
    /// the other. Without it, no proxy is trusted.
    ///
    /// # Errors
    /// When a secret is too short.
    pub fn from_env() -> Result<Self, ConfigError> {
        const NAME: &str = "TRUSTED_PROXY_SECRET";
        let secrets = config::optional::<String>(NAME)?.unwrap_or_default();
        Self::with(&secrets).map_err(|problem| ConfigError::malformed(NAME, problem))
    }

    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    /// Reads secrets, separated by commas.
    ///
    /// # Errors
    /// When one is too short.
    pub fn with(secrets: &str) -> Result<Self, &'static str> {
        let secrets: Vec<_> = secrets.split(',').map(str::trim).filter(|secret| !secret.is_empty()).collect();
        if secrets.iter().any(|secret| secret.len() < SHORTEST_SECRET) {
            return Err("a secret must have at least 32 characters");
        }
        Ok(Self(secrets.into_iter().map(SecretString::from).collect()))
    }

    /// Returns the network that the client's limits count for: an IPv4 address, or the /64 of an IPv6 one, since one
    /// customer has all addresses of a /64.
    #[must_use]
    pub fn client_network(&self, request: &Request) -> String {
        let connection = connection(request);
        let client = if self.sent(request) { forwarded(request, connection) } else { None };
        match client.or(connection).map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => address.to_string(),
            Some(IpAddr::V6(address)) => {
                let network = address.to_bits() >> 64 << 64;
                format!("{}/64", Ipv6Addr::from_bits(network))
            }
            None => "unknown".to_owned(),
        }
    }

    /// Tells whether the proxy sent the request. A header that is there twice proves nothing.
    fn sent(&self, request: &Request) -> bool {
        let mut headers = request.headers().get_all(SECRET_HEADER).iter();
        let (Some(header), None) = (headers.next(), headers.next()) else {
            return false;
        };
        self.0.iter().any(|secret| secret.expose_secret().as_bytes().ct_eq(header.as_bytes()).into())
    }
}

/// Returns the address that API Gateway, or the function's URL, saw the connection come from.
fn connection(request: &Request) -> Option<IpAddr> {
    match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.http.source_ip.as_deref()?.parse().ok(),
        _ => None,
    }
}

/// Returns the address that the proxy saw its own connection come from: CloudFront's word for it, or the last hop.
fn forwarded(request: &Request, connection: Option<IpAddr>) -> Option<IpAddr> {
    let last = |name| request.headers().get_all(name).iter().next_back()?.to_str().ok();
    let viewer = last("cloudfront-viewer-address").and_then(without_port);
    viewer.or_else(|| last_hop(last("x-forwarded-for")?, connection))
}

/// Reads `203.0.113.7:443`, `[2001:db8::1]:443`, or `2001:db8::1:443` as CloudFront writes it. Also without a port.
fn without_port(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    let before_port = text.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
    let address = before_port.and_then(|(address, _)| address.parse().ok());
    address.or_else(|| text.parse().ok())
}

/// Returns the last address of a list to which each proxy appends the one it was called from. API Gateway appends too:
/// what it appended is the connection's, and the hop before that is the proxy's client.
fn last_hop(list: &str, connection: Option<IpAddr>) -> Option<IpAddr> {
    let mut hops = list.rsplit(',').map(without_port);
    let last = hops.next()??;
    if Some(last) == connection { hops.next().flatten() } else { Some(last) }
}

#[cfg(test)]
mod tests {
    //! Tests which address counts, and that a client cannot choose it.

    use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequestContext;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const NEXT_SECRET: &str = "fedcba9876543210fedcba9876543210";
    const EDGE: &str = "198.51.100.9";
    const CLIENT: &str = "203.0.113.7";

    /// The network of a request from `source_ip` with headers, for a proxy with secrets.
    fn network(secrets: &str, source_ip: &str, headers: &[(&'static str, &str)]) -> String {
        let mut context = ApiGatewayV2httpRequestContext::default();
        context.http.source_ip = Some(source_ip.to_owned());
        let mut request = Request::default().with_request_context(RequestContext::ApiGatewayV2(context));
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        TrustedProxy::with(secrets).unwrap().client_network(&request)
    }

    fn direct(source_ip: &str) -> String {
        network("", source_ip, &[])
    }

    /// The network of a request that came through the proxy.
    fn through_proxy(headers: &[(&'static str, &str)]) -> String {
        let proof = [("x-proxy-secret", SECRET)];
        network(SECRET, EDGE, &[&proof, headers].concat())
    }

    #[test]
    fn an_ipv6_address_counts_by_its_network() {
        let expected = "2001:db8:1:2::/64";
        assert_eq!(direct("2001:db8:1:2:3:4:5:6"), expected);
        assert_eq!(direct("2001:db8:1:2:ffff::1"), expected);
        assert_eq!(direct("2001:db8:1:3:3:4:5:6"), "2001:db8:1:3::/64");
        assert_eq!(direct(CLIENT), CLIENT);
        assert_eq!(direct("::ffff:203.0.113.7"), CLIENT);
    }

    #[test]
    fn a_trusted_proxy_is_believed_about_its_client() {
        for (viewer, expected) in [
            ("203.0.113.7:46532", CLIENT),
            ("203.0.113.7", CLIENT),
            ("2001:db8:1:2:3:4:5:6:46532", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::6:8080", "2001:db8:1:2::/64"),
            ("[2001:db8:1:2::6]:443", "2001:db8:1:2::/64"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("::ffff:203.0.113.7:443", CLIENT),
        ] {
            assert_eq!(through_proxy(&[("cloudfront-viewer-address", viewer)]), expected, "{viewer}");
        }
    }

    #[test]
    fn the_last_hop_is_the_client_and_what_the_client_wrote_before_it_is_not() {
        for hops in ["203.0.113.7", "192.0.2.1, 203.0.113.7", "192.0.2.1, 203.0.113.7, 198.51.100.9"] {
            assert_eq!(through_proxy(&[("x-forwarded-for", hops)]), CLIENT, "{hops}");
        }
        for nonsense in ["", ",", "nobody", "192.0.2.1, nobody", "198.51.100.9"] {
            assert_eq!(through_proxy(&[("x-forwarded-for", nonsense)]), EDGE, "{nonsense}");
            let both = [("cloudfront-viewer-address", "nobody:1"), ("x-forwarded-for", nonsense)];
            assert_eq!(through_proxy(&both), EDGE, "{nonsense}");
        }
    }

    #[test]
    fn forged_headers_change_nothing_without_the_proxys_secret() {
        let forged = [("cloudfront-viewer-address", "203.0.113.7:1"), ("x-forwarded-for", CLIENT)];
        assert_eq!(network(SECRET, EDGE, &forged), EDGE);
        for secrets in ["", SECRET] {
            for wrong in ["", "0123456789abcdef", &SECRET.to_uppercase(), NEXT_SECRET, &format!("{SECRET}0")] {
                let proof = [("x-proxy-secret", wrong)];
                assert_eq!(network(secrets, EDGE, &[proof.as_slice(), &forged].concat()), EDGE, "{wrong}");
            }
        }
        let twice = [("x-proxy-secret", SECRET), ("x-proxy-secret", SECRET)];
        assert_eq!(network(SECRET, EDGE, &[twice.as_slice(), &forged].concat()), EDGE);
    }

    #[test]
    fn two_secrets_are_good_while_one_replaces_the_other() {
        let both = format!("{SECRET}, {NEXT_SECRET}");
        for secret in [SECRET, NEXT_SECRET] {
            let headers = [("x-proxy-secret", secret), ("x-forwarded-for", CLIENT)];
            assert_eq!(network(&both, EDGE, &headers), CLIENT);
            assert_eq!(network("", EDGE, &headers), EDGE);
        }
        assert!(TrustedProxy::with("short").is_err());
        assert!(TrustedProxy::with(&format!("{SECRET},short")).is_err());
    }
}
