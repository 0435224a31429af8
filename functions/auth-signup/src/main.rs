//! `POST /auth/signup`: sends a code that opens an account.
//!
//! Nothing is stored in Postgres before the number is proved: name and address wait beside the code, and are those of
//! whoever asked for it. A number that has an account simply gets a sign-in code, and the response is the same: nobody
//! learns who is a customer.

use lambda_http::{Body, Request, Response};
use serde::Deserialize;
use shared::{
    Result,
    auth::{CodeSender, codes::NewAccount, sender::Reason},
    domain::{Email, Mobile, Name},
    http,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signup {
    mobile: Mobile,
    name: Option<Name>,
    email: Option<Email>,
}

async fn sign_up(sender: &CodeSender, request: Request) -> Result<Response<Body>> {
    let Signup { mobile, name, email } = http::json(&request)?;
    let reason = Reason::SignUp(NewAccount { name, email });
    http::accepted(None, &sender.send(reason, &mobile, &request).await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(CodeSender::from_env, sign_up).await
}
