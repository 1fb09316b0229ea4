//! What every adapter of a port must do, as suites to call from a test, and wrappers that fail on demand.
//!
//! A suite panics where the adapter does not do as the port says. It wants an adapter that is empty.

mod blobs_suite;
mod catalogue_suite;
mod faulty;
mod upkeep_suite;

pub use blobs_suite::blobs;
pub use catalogue_suite::catalogue;
pub use faulty::{Fault, Faults, FaultyBlobs, FaultyCatalogue};
