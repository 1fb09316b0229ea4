//! Bundles over stores in memory: what travels, and what is refused.

// `allow-unwrap-in-tests` sees test functions only, not what they call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod hostile;
mod support;
mod travel;
mod vector;
