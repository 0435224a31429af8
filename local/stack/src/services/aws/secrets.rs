//! Makes the secret that the template reads.

use anyhow::Result;
use serde_json::json;

use super::Aws;
use crate::settings::Variables;

/// The members of the secret.
const SECRETS: [&str; 6] =
    ["DATABASE_URL", "GEMINI_API_KEY", "JWT_PRIVATE_KEY", "OTP_PEPPER", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"];

impl Aws {
    /// Makes the secret of a stack that has these variables.
    pub async fn keep_secrets(&self, variables: &Variables) -> Result<()> {
        let secrets: Variables = SECRETS.iter().map(|&name| (name.to_owned(), variables[name].clone())).collect();
        let body = json!({
            "Name": "chat",
            "SecretString": serde_json::to_string(&secrets)?,
            "ClientRequestToken": uuid::Uuid::now_v7(),
        });
        self.act("secretsmanager", "secretsmanager.CreateSecret", &body).await?;
        Ok(())
    }
}
