//! What the tests of functions share: a database of their own, and requests as API Gateway sends them.
//!
//! The services come from `cargo local test`. Without them a test fails and says so; none is ever skipped.
