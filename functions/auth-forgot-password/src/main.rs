//! `POST /auth/forgot-password`: sends a code with which a new password can be set.
//!
//! A number without an account gets the same response after the same work, and nothing is sent.

use lambda_http::{Body, Request, Response};
use serde::Deserialize;
use shared::{
    Result,
    auth::{CodeSender, codes::Purpose, sender::Reason},
    domain::Mobile,
    http,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipient {
    mobile: Mobile,
}

async fn forgot_password(sender: &CodeSender, request: Request) -> Result<Response<Body>> {
    let Recipient { mobile } = http::json(&request)?;
    http::accepted(None, &sender.send(Reason::Known(Purpose::ResetPassword), &mobile, &request).await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(CodeSender::from_env, forgot_password).await
}
