//! Describes a running system to SAM: the parameters with which `sam deploy` puts the stack into its MiniStack, and the
//! variables with which `sam local invoke` runs a function of it in a container. `samconfig.toml` names both files.

use std::{collections::BTreeMap, env::consts::ARCH, path::Path};

use anyhow::Result;
use serde_json::json;

use crate::{machine::workspace::write_secret, settings::Variables};

/// Parameters of the template and their values.
pub type Parameters = BTreeMap<String, String>;

/// The parameters that say the same as a variable of the functions.
const SAME: [(&str, &str); 6] = [
    ("CheckoutCancelUrl", "CHECKOUT_CANCEL_URL"),
    ("CheckoutSuccessUrl", "CHECKOUT_SUCCESS_URL"),
    ("GeminiUrl", "GEMINI_URL"),
    ("JwtPublicKeys", "JWT_PUBLIC_KEYS"),
    ("StripeProPriceId", "STRIPE_PRO_PRICE_ID"),
    ("StripeUrl", "STRIPE_URL"),
];

/// Returns the parameters of a stack on this machine, for functions that have these variables.
pub fn parameters(variables: &Variables) -> Parameters {
    let architecture = if ARCH == "aarch64" { "arm64" } else { "x86_64" };
    let fixed = [
        ("Architecture", architecture),
        ("DatabaseRoots", "mozilla"),
        ("MaximumConsumers", "0"), // MiniStack takes no parameter there
        ("OtpDelivery", "response"),
        ("Stage", "local"),
    ];
    let fixed = fixed.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let same = SAME.iter().filter_map(|(name, variable)| Some(((*name).to_owned(), variables.get(*variable)?.clone())));
    fixed.into_iter().chain(same).collect()
}

/// Writes the file that `parameter_overrides` names below a target directory. SAM takes no file whose name ends in
/// `.json`, but JSON is YAML.
pub fn write_parameters(target: &Path, parameters: &Parameters) -> Result<()> {
    write_secret(&target.join("local/parameters.yaml"), &json!(parameters).to_string())
}

/// Writes the file that `env_vars` names. SAM gives a function those of these variables that the template gives it.
pub fn write_variables(target: &Path, variables: &Variables) -> Result<()> {
    write_secret(&target.join("local/variables.json"), &json!({ "Parameters": variables }).to_string())
}
