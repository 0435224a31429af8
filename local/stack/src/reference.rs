//! The API reference: `openapi.yaml` in Swagger UI, whose "Try it out" calls a running system.
//!
//! The page is on a port of its own, so its requests cross origins as those of a web app do.

use std::fs;

use anyhow::{Context, Result};
use axum::{
    Router,
    http::header::CONTENT_TYPE,
    response::{Html, IntoResponse},
    routing::get,
};
use tokio::{net::TcpListener, task::JoinSet};

use crate::machine::{
    ports::Port,
    tools::{Packages, Tools},
    workspace::Workspace,
};

/// What shows the contract in a browser.
const VIEWER: Packages = Packages {
    directory: "local/reference",
    arguments: &[],
    requirements: include_str!("../python/reference.txt"),
    title: "Installing Swagger UI (once)",
};

const PAGE: &str = r##"<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <title>Chat API</title>
    <link rel="icon" type="image/png" href="favicon-32x32.png">
    <link rel="stylesheet" href="swagger-ui.css">
  </head>
  <body>
    <div id="reference"></div>
    <script src="swagger-ui-bundle.js"></script>
    <script>
      SwaggerUIBundle({
        url: "openapi.yaml",
        dom_id: "#reference",
        deepLinking: true,
        displayOperationId: true,
        persistAuthorization: true,
        tryItOutEnabled: true,
        validatorUrl: null,
      });
    </script>
  </body>
</html>
"##;

/// The server that the contract names, in whose place the running one comes.
const DOCUMENTED_SERVER: &str = "http://127.0.0.1:9000";

/// A server of the reference, which ends when it is dropped.
pub struct Reference {
    /// Where the page is.
    pub url: String,
    _server: JoinSet<()>,
}

impl Reference {
    /// Serves the reference of the API at `api_url`.
    pub async fn serve(port: Port, api_url: &str) -> Result<Self> {
        let workspace = Workspace::find()?;
        let tools = Tools::install(&workspace.target, &VIEWER).await?;
        let files = tools.packages()?.join("flask_swagger_ui/dist");
        let file = |name: &str, content_type: &'static str| -> Result<_> {
            let path = files.join(name);
            let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(get(async move || ([(CONTENT_TYPE, content_type)], content)))
        };
        let contract = workspace.root.join("openapi.yaml");
        let api_url = api_url.to_owned();
        let contract = async move || {
            // Read each time: whoever edits it reloads the page.
            let text = fs::read_to_string(&contract).unwrap_or_default();
            let text = text.replace(DOCUMENTED_SERVER, &api_url);
            ([(CONTENT_TYPE, "application/yaml")], text).into_response()
        };
        let routes = Router::new()
            .route("/", get(async || Html(PAGE)))
            .route("/openapi.yaml", get(contract))
            .route("/favicon-32x32.png", file("favicon-32x32.png", "image/png")?)
            .route("/swagger-ui.css", file("swagger-ui.css", "text/css")?)
            .route("/swagger-ui-bundle.js", file("swagger-ui-bundle.js", "text/javascript")?);
        let listener = TcpListener::from_std(port.listen()?)?;
        let url = format!("http://{}/", listener.local_addr()?);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let _ = axum::serve(listener, routes).await; // serves until it is aborted
        });
        Ok(Self { url, _server: server })
    }
}
