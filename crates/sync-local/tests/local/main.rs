//! Items between a directory and a real PostgreSQL.

// `allow-unwrap-in-tests` sees test functions only, not what they call.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod content;
mod held;
mod round_trip;
#[path = "../../../sync-db/tests/db/server.rs"]
mod server;
mod shared;
mod skills;
mod support;
mod unfit;
