//! Asks for the features that any package of the workspace asks for, and has no code.
//!
//! Cargo resolves the features of the packages that a command selects. With this one among them, `cargo local`, the
//! functions, all tests and those of one package are built with the same dependencies, which are compiled once. A test
//! says what is missing here.
