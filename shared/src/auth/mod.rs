//! Who is calling, and how they prove it.

pub mod codes;
mod common_passwords;
pub mod delivery;
mod ed25519;
pub mod passwords;
pub mod sessions;
pub mod tokens;

pub use codes::Codes;
pub use delivery::Delivery;
pub use passwords::Password;
pub use tokens::{Caller, TokenIssuer, TokenVerifier};
