//! What API Gateway does before it looks for a route: CORS, the limit of a body, and text that is no UTF-8.
//!
//! Everything else goes on to `cargo lambda watch`, which cannot do these as API Gateway does.
//! See <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-cors.html>.

use std::{env, net::Ipv6Addr, sync::Arc};

use anyhow::Result;
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Request, State, rejection::BytesRejection},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, CONNECTION,
            CONTENT_LENGTH, CONTENT_TYPE, ORIGIN, TRANSFER_ENCODING,
        },
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use reqwest::{Client, redirect::Policy};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinSet};

/// The same as `CorsConfiguration` in `template.yaml`; a test holds them together.
pub const ALLOWED_METHODS: &str = "DELETE,GET,PATCH,POST";
/// See [`ALLOWED_METHODS`].
pub const ALLOWED_HEADERS: &str = "authorization,content-type,idempotency-key,if-none-match,last-event-id,baggage,b3,\
    cache-control,newrelic,sentry-trace,traceparent,tracestate,user-agent,x-amzn-trace-id,x-client-version,\
    x-correlation-id,x-datadog-origin,x-datadog-parent-id,x-datadog-sampling-priority,x-datadog-trace-id,\
    x-requested-with,x-request-id";
/// See [`ALLOWED_METHODS`].
pub const EXPOSED_HEADERS: &str = "etag,location,ratelimit,ratelimit-policy,retry-after,www-authenticate";
/// See [`ALLOWED_METHODS`].
pub const MAX_AGE: &str = "3600";

/// API Gateway accepts 10 MB.
const BODY_LIMIT: usize = 10 << 20;

/// The server.
pub struct Entrance {
    /// Where clients send their requests.
    pub url: String,
    _servers: JoinSet<()>,
}

struct Upstream {
    /// Where `cargo lambda watch` listens.
    gateway: String,
    client: Client,
    /// What `CORS_ORIGINS` names, beside the pages of this machine.
    origins: Vec<String>,
}

impl Entrance {
    /// Lets requests in through a listener and on to the gateway.
    pub fn open(listener: std::net::TcpListener, gateway: String) -> Result<Self> {
        let address = listener.local_addr()?;
        let origins = env::var("CORS_ORIGINS").unwrap_or_default();
        let upstream = Arc::new(Upstream {
            gateway,
            client: crate::machine::http::builder()?.redirect(Policy::none()).build()?,
            origins: origins.split(',').map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect(),
        });
        let routes = Router::new()
            .fallback(pass_on)
            .with_state(upstream.clone())
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .layer(from_fn_with_state(upstream, cors));
        let listener = TcpListener::from_std(listener)?;
        let mut servers = JoinSet::new();
        let on_ipv6 = routes.clone();
        servers.spawn(async move {
            let _ = axum::serve(listener, routes).await; // serves until it is aborted
        });
        // `cargo lambda invoke` looks for it there.
        servers.spawn(async move {
            if let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, address.port())).await {
                let _ = axum::serve(listener, on_ipv6).await; // a machine may have no IPv6
            }
        });
        Ok(Self { url: format!("http://{address}"), _servers: servers })
    }
}

/// Answers preflights, and lets the pages of known origins read responses.
async fn cors(State(upstream): State<Arc<Upstream>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let origin = headers.get(ORIGIN).filter(|it| upstream.is_allowed(it)).cloned();
    let is_preflight = request.method() == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if is_preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let fixed: &[(HeaderName, &'static str)] = if is_preflight {
            &[
                (ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS),
                (ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS),
                (ACCESS_CONTROL_MAX_AGE, MAX_AGE),
            ]
        } else {
            &[(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS)]
        };
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

impl Upstream {
    /// Any page that this machine serves may call, and those of `CORS_ORIGINS`.
    fn is_allowed(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        let is_local = ["http://localhost", "http://127.0.0.1"].iter().any(|host| {
            let rest = origin.strip_prefix(host);
            rest.is_some_and(|rest| {
                rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
            })
        });
        is_local || self.origins.iter().any(|allowed| allowed == origin)
    }
}

/// Passes a request on, and its response back as it comes.
async fn pass_on(
    State(upstream): State<Arc<Upstream>>,
    method: Method,
    uri: axum::http::Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let Ok(body) = body else {
        return own(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
    };
    let path = uri.path_and_query().map_or("/", |it| it.as_str());
    let request = upstream
        .client
        .request(method, format!("{}{path}", upstream.gateway))
        .headers(readable(headers, &body))
        .body(body);
    let Ok(response) = request.send().await else {
        return own(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
    };
    let (status, mut headers) = (response.status(), response.headers().clone());
    for name in [CONNECTION, TRANSFER_ENCODING] {
        headers.remove(name); // of the connection that it came by
    }
    (status, headers, Body::from_stream(response.bytes_stream())).into_response()
}

/// A response of API Gateway's own.
fn own(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "message": message }))).into_response()
}

/// Makes headers that `cargo lambda watch` can put into an event.
///
/// It refuses a body that is declared to be text and is not UTF-8, where API Gateway sends it in base64. It does so too
/// for types that it does not know, and it knows them in lower case only. It takes header values in ASCII only; what is
/// not becomes something that no key or token may contain either.
fn readable(mut headers: HeaderMap, body: &[u8]) -> HeaderMap {
    for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name); // the client sets its own
    }
    for value in headers.values_mut() {
        if value.to_str().is_err() {
            *value = HeaderValue::from_static("not ASCII");
        }
    }
    if str::from_utf8(body).is_err() {
        let declared = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
        let declared = declared.map_or("application/octet-stream".to_owned(), |declared| {
            let (first, rest) = declared.split_at(1.min(declared.len()));
            first.to_uppercase() + rest
        });
        if let Ok(declared) = HeaderValue::from_str(&declared) {
            headers.insert(CONTENT_TYPE, declared);
        }
    }
    headers
}
