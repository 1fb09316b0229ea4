//! The crate against a real database: every test has one of its own.

// `allow-unwrap-in-tests` sees test functions only, not what they call.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod apply;
mod capture;
mod server;
mod support;
mod track;
mod types;
