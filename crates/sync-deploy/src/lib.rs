//! From source to a running, healthy program, and back again when it is not healthy.
//!
//! - [`command`]: the port that commands run through, and the adapter that runs them as processes.
//! - [`engine`]: the container engine, by its command line.
//! - [`deployer`]: the port to a place where programs run, and its adapters: containers, machines of Fly, an operator's program.

pub mod command;
pub mod deployer;
pub mod engine;
pub mod error;

pub use command::{Command, CommandRunner, Listener, ProcessRunner, Ran};
pub use deployer::{
    Deployer, Docker, DockerOptions, Fly, FlyOptions, Health, Script, Serving, Wanted,
};
pub use engine::{Builder, Login, Private};
pub use error::Error;
