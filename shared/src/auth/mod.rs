//! Who is calling, and how they prove it.

pub mod codes;
pub mod delivery;
pub mod sessions;
pub mod tokens;

pub use codes::Codes;
pub use delivery::Delivery;
pub use tokens::{Caller, TokenIssuer, TokenVerifier};
