//! Authenticates callers: by access token, by code and by password.

mod attempts;
pub mod codes;
mod common_passwords;
pub mod confirmation;
mod countries;
mod delivery;
mod device;
mod ed25519;
pub mod passwords;
mod pepper;
pub mod sender;
pub mod sessions;
pub mod tokens;

pub use attempts::Attempts;
pub use codes::CodeVerifier;
pub use confirmation::{Confirmation, Confirmer, TypedPassword};
pub use device::Device;
pub use passwords::Password;
pub use pepper::Pepper;
pub use sender::CodeSender;
pub use tokens::{Caller, TokenIssuer, TokenVerifier};
