//! The port to a place where programs run.

mod docker;
mod fly;
mod script;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sync_core::Digest;

use crate::Error;

pub use docker::{Docker, DockerOptions};
pub use fly::{Fly, FlyOptions};
pub use script::Script;

/// A release that is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Whose it is.
    pub tenant: String,
    /// The release: names what is started for it, so that a second try finds it.
    pub release: Digest,
    /// The image, by digest.
    pub image: String,
}

/// What serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving {
    /// The release; absent where something runs that nobody deployed through this port.
    pub release: Option<Digest>,
    /// The image as the place knows it.
    pub image: String,
    /// Where people reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How it is.
    pub health: Health,
}

/// How a program is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Health {
    /// It has started, and has not said that it is well.
    Starting,
    /// It is well.
    Healthy,
    /// It is not, or it has ended.
    Unhealthy {
        /// What was seen: an exit status, an answer, the last lines of its log.
        reason: String,
    },
}

/// A place where the program of a tenant runs. Object-safe.
///
/// A deploy is [`Deployer::start`], then [`Deployer::health`] until it says so, then [`Deployer::switch`] or
/// [`Deployer::abandon`]. What served before goes on until `switch`. Each is safe to do again, in a process that knows nothing
/// of the one before: what was started is found by its release.
#[async_trait]
pub trait Deployer: Send + Sync + fmt::Debug {
    /// What serves the tenant now; `None` where nothing does.
    async fn serving(&self, tenant: &str) -> Result<Option<Serving>, Error>;

    /// Starts the release beside what serves.
    ///
    /// # Errors
    ///
    /// Where it could not be started; what serves goes on.
    async fn start(&self, wanted: &Wanted) -> Result<(), Error>;

    /// How the started release is.
    async fn health(&self, wanted: &Wanted) -> Result<Health, Error>;

    /// Has the started release serve, and ends what served before; gives what serves then.
    ///
    /// # Errors
    ///
    /// Where that could not be done; what served before serves again.
    async fn switch(&self, wanted: &Wanted) -> Result<Serving, Error>;

    /// Ends and removes the started release, wherever it got to. Nothing happens where it serves, or was never started.
    async fn abandon(&self, wanted: &Wanted) -> Result<(), Error>;

    /// How long a release may take to get healthy.
    fn patience(&self) -> Duration;
}
