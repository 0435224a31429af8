//! Signs requests without a query string by AWS Signature Version 4.
//!
//! See <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use reqwest::{Request, header::HeaderValue};
use ring::{
    digest::{SHA256, digest},
    hmac,
};
use time::{UtcDateTime, macros::format_description};

use super::Aws;

impl Aws {
    /// Signs a request for a service.
    pub(super) fn sign(&self, service: &str, request: &mut Request) -> Result<()> {
        self.sign_at(service, request, UtcDateTime::now())
    }

    fn sign_at(&self, service: &str, request: &mut Request, now: UtcDateTime) -> Result<()> {
        let time = now.format(format_description!("[year][month][day]T[hour][minute][second]Z"))?;
        let host = request.url().authority().to_owned();
        let headers = request.headers_mut();
        headers.insert("host", HeaderValue::from_str(&host)?);
        headers.insert("x-amz-date", HeaderValue::from_str(&time)?);
        if let Some(token) = &self.token {
            headers.insert("x-amz-security-token", HeaderValue::from_str(token)?);
        }
        let mut signed: Vec<_> = headers
            .iter()
            .filter(|(name, _)| *name == "host" || name.as_str().starts_with("x-amz-"))
            .map(|(name, value)| Ok((name.as_str(), value.to_str()?)))
            .collect::<Result<_>>()?;
        signed.sort_unstable();
        let names: Vec<_> = signed.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines = signed.iter().fold(String::new(), |mut lines, (name, value)| {
            let _ = writeln!(lines, "{name}:{value}"); // writing to a string does not fail
            lines
        });

        let body = request.body().and_then(|body| body.as_bytes());
        let canonical = format!(
            "{}\n{}\n\n{lines}\n{names}\n{}",
            request.method(),
            request.url().path(),
            hex(digest(&SHA256, body.unwrap_or_default()).as_ref()),
        );
        let date = time.split('T').next().context("a time has a date")?;
        let scope = format!("{date}/{}/{service}/aws4_request", self.region);
        let text =
            format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(digest(&SHA256, canonical.as_bytes()).as_ref()));
        let secret = format!("AWS4{}", self.secret).into_bytes();
        let key = [date, &self.region, service, "aws4_request"].iter().fold(secret, |key, part| mac(&key, part));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            self.key,
            hex(&mac(&key, &text))
        );
        request.headers_mut().insert("authorization", HeaderValue::from_str(&authorization)?);
        Ok(())
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // as above
        hex
    })
}

#[cfg(test)]
mod tests {
    use reqwest::{Method, Url};
    use time::macros::utc_datetime;

    use super::*;

    /// `post-vanilla` of AWS's own test suite for signatures.
    #[test]
    fn the_example_of_aws_has_its_signature() {
        let mut aws = Aws::at("https://example.amazonaws.com/".to_owned()).unwrap();
        "us-east-1".clone_into(&mut aws.region);
        "AKIDEXAMPLE".clone_into(&mut aws.key);
        "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".clone_into(&mut aws.secret);
        aws.token = None;
        let mut request = Request::new(Method::POST, Url::parse(&aws.endpoint).unwrap());
        aws.sign_at("service", &mut request, utc_datetime!(2015-08-30 12:36:00)).unwrap();
        let signature = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b";
        let authorization = request.headers()["authorization"].to_str().unwrap();
        assert!(authorization.ends_with(signature), "{authorization}");
    }
}
