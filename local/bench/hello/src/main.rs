//! The least that a Lambda behind API Gateway can be: what the benchmark measures the functions against.
//!
//! It stands below `local/` because everything below `functions/` is part of the product.

use lambda_http::{Body, Error, Request, Response, run, service_fn};

async fn hello(_: Request) -> Result<Response<Body>, Error> {
    Ok(Response::new(Body::Text("Hello".into())))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(hello)).await
}
