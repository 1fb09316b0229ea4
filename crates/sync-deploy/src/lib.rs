//! From source to a running, healthy program, and back again when it is not healthy.
//!
//! Reading order:
//!
//! - [`command`]: the port that commands run through, and the adapter that runs them as processes.
//! - [`config`], [`source`], [`context`], [`contents`]: what a program is made from, and which state of it this is.
//! - [`plan`](plan()), pure, then [`ship`]: from there to an image in a [`registry`], by [`engine`], the container engine.
//! - [`deployer`]: the port to a place where programs run, and its adapters: containers, machines of Fly, an operator's program.
//!
//! What it never does: run a shell, put a secret into an argument, or print.

pub mod command;
pub mod config;
pub mod contents;
pub mod context;
pub mod deployer;
pub mod engine;
pub mod error;
pub mod plan;
pub mod registry;
mod ship;
pub mod source;
mod turn;

pub use command::{Command, CommandRunner, Listener, ProcessRunner, Ran};
pub use config::{DeployConfig, Project, Repository};
pub use contents::Cargo;
pub use deployer::{
    Deployer, Docker, DockerOptions, Fly, FlyOptions, Health, Script, Serving, Wanted,
};
pub use engine::{Builder, Login, Private};
pub use error::Error;
pub use plan::{Destination, Plan, Seen, Step, StepName, Wish, plan};
pub use registry::Registry;
pub use ship::{ShipEvent, Shipped, ship};
pub use source::Source;
pub use turn::{Turn, private_dir};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
