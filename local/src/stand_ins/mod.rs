//! Stand-ins for the vendors that nobody runs on a machine of their own.

pub mod gemini;
pub mod stripe;
