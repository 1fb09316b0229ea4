//! From source to a running, healthy program, and back again when it is not healthy.
//!
//! - [`command`]: the port that commands run through, and the adapter that runs them as processes.
//! - [`deployer`]: the port to a place where programs run.

pub mod command;
pub mod deployer;
pub mod error;

pub use command::{Command, CommandRunner, Listener, ProcessRunner, Ran};
pub use deployer::{Deployer, Health, Serving, Wanted};
pub use error::Error;
