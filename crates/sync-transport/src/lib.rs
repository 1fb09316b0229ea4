//! HTTP/1.1 and HTTP/2 between two ends that do not trust the network: a client, a listener, and what both need.
//!
//! Every wait has a bound, bodies stream with back-pressure, a failure that may pass is tried again where that is safe,
//! and errors say who is at fault. TCP, TLS, Unix sockets and connections inside this process run the same code.
//!
//! Reading order:
//!
//! - [`Body`], what is sent and received; [`Error`], what goes wrong; [`RequestId`], what both ends call a request.
//! - [`Endpoint`], [`Secret`], [`ClientTls`], [`Call`], and [`Client`], which sends calls;
//!   [`classify`] decides whether to try again, [`parse_retry_after`] when at the earliest.
//! - [`Listener`], [`ServerTls`], [`Handler`], and [`serve`], which runs until it is told to stop.
//!
//! What it never does: follow redirects, keep cookies, decompress, use proxies, or touch the process-wide TLS provider.

mod body;
mod call;
mod client;
mod connect;
mod endpoint;
mod error;
mod handler;
mod http2_window;
mod listener;
mod memory;
mod meter;
mod progress;
mod received;
mod request_id;
mod retry;
mod retry_after;
mod secret;
mod serve;
mod tls;

pub use body::Body;
pub use call::{Call, CallBody};
pub use client::{Client, ClientOptions};
pub use connect::{Connect, Io};
pub use endpoint::Endpoint;
pub use error::{BoxError, Error, Stage, TlsTrouble, Wait};
pub use handler::{Handler, Peer};
pub use listener::{Listener, PrivateSocket};
pub use memory::MemoryConnector;
pub use meter::{Totals, Traffic};
pub use request_id::{ATTEMPT, REQUEST_ID, RequestId};
pub use retry::{Outcome, Repeat, Verdict, classify};
pub use retry_after::parse_retry_after;
pub use secret::Secret;
pub use serve::{Drained, ServerOptions, serve};
pub use tls::{ClientTls, ServerTls};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
