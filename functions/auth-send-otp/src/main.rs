//! `POST /auth/send-otp`: sends a code to a number that has an account, to sign in or to confirm.
//!
//! A number without one gets the same response after the same work, and nothing is sent.

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
    #[serde(default)]
    purpose: Use,
}

/// What the code is for. A password is reset with one of another endpoint.
#[derive(Deserialize, Default)]
#[serde(try_from = "String")]
enum Use {
    #[default]
    SignIn,
    Confirm,
}

impl TryFrom<String> for Use {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        match text.as_str() {
            "sign-in" => Ok(Self::SignIn),
            "confirm" => Ok(Self::Confirm),
            _ => Err("must be one of: sign-in, confirm"),
        }
    }
}

async fn send_otp(sender: &CodeSender, request: Request) -> Result<Response<Body>> {
    let Recipient { mobile, purpose } = http::json(&request)?;
    let purpose = match purpose {
        Use::SignIn => Purpose::SignIn,
        Use::Confirm => Purpose::Confirm,
    };
    http::accepted(None, &sender.send(Reason::Known(purpose), &mobile, &request).await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::serve(CodeSender::from_env, send_otp).await
}
