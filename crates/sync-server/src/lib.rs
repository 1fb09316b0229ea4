//! The tenant server: the sync protocol over HTTP, with tenants and scoped tokens, above any `sync-store`.
//!
//! [`Server`] is a [`sync_transport::Handler`]: put it behind a TCP or TLS listener, a Unix socket,
//! or an in-memory connection, and it behaves the same.
//! It holds no state of its own besides the store that could not be lost: the key of access tokens and a cache of checksums,
//! both for legacy clients.
//!
//! - [`route`]: a method and a path as one of the known requests, purely.
//! - [`auth`]: tokens, and what a caller may do.
//! - `rows`: tenants that have a database.
//! - `deploys`: what a tenant's program runs.
//! - `legacy`: the requests of clients of the earlier system.
//! - `identity`: who a tenant is, and that it has moved.
//! - `api`: the protocol's requests; `admin`: tenants and tokens; `upkeep`: collection, verification, repair; `answer`: JSON and error bodies.
//! - `bundles`: a tenant as one archive, and back.
//! - `metrics`: what is counted for the operator.
//!
//! It never prints, never reads the environment, and never tells a caller whether another tenant exists.
#![doc = ""]
#![doc = include_str!("../README.md")]

mod admin;
mod answer;
mod api;
pub mod auth;
mod branches;
mod bundles;
mod deploys;
mod error;
mod identity;
mod legacy;
mod metrics;
pub mod route;
mod rows;
mod server;
mod upkeep;

pub use deploys::Places;
pub use error::Error;
#[cfg(fuzzing)]
pub use legacy::fuzzing;
pub use legacy::{ImportRefusal, Refusal};
pub use metrics::MetricsPage;
pub use rows::{DatabaseRecord, Variables};
pub use server::{Clock, Server};
