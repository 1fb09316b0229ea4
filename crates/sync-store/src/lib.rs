//! A content-addressed store: objects in packs, snapshots, and branch heads that move by compare-and-swap.
//!
//! Objects (chunks of files, nodes of maps, snapshots) are named by their digest and travel, and are stored, many
//! together. Reading order:
//!
//! - [`pack`]: the stream, and the stored file, of many objects. Pure.
//! - [`blobs`] and [`catalogue`]: the two ports, to where packs are and to what is known about them, each with an adapter
//!   in memory and one in a directory. `contract` (feature `contract`) is what every adapter must pass.
//! - [`store`]: a store over two adapters, its tenants and tokens; [`repository`]: one tenant's view of it.
//!   A push is [`Repository::receive`], then [`Repository::advance`]; a pull is [`Repository::export`].
//!   [`Repository::verify`] and [`Repository::plan_gc`] look after what is stored.
//! - [`identity`]: the key that a tenant signs with, and that others know it by.
//! - [`protocol`]: the messages between a client and a server of such stores.
//!
//! It never judges who may do what, never opens a socket, reads no clock but to say since when a directory is locked,
//! and believes nothing that it receives: digests, sizes, counts, paths and the shape of maps are checked before a head
//! moves. What a call has acknowledged is durable.

pub mod blobs;
pub mod catalogue;
#[cfg(any(test, feature = "contract"))]
pub mod contract;
pub mod error;
pub mod identity;
pub mod pack;
pub mod protocol;
pub mod repository;
pub mod store;
mod task;

#[cfg(test)]
mod tests;

/// The example of the README is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use catalogue::{Advanced, HeadMove, Removed, TokenRecord};
pub use error::Error;
pub use identity::{Identity, PublicKey, Signature};
pub use pack::Class;
pub use repository::{
    Advance, GcPlan, Keep, Kept, Received, Repository, RepositoryNodes, RowsPush, Writer, Writing,
};
pub use store::Store;
