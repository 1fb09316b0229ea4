//! The deploy that runs and those that are over: one note of the tenant, so that one always becomes the other.

use serde::{Deserialize, Serialize};
use snafu::{OptionExt, ResultExt};
use sync_core::{Digest, Name};
use sync_store::Repository;
use sync_store::protocol::deploy::{DeployEnd, DeployRecord, Deploying};

use crate::Error;
use crate::error::{MalformedSnafu, StoreSnafu};

/// The note of the tenant that it is kept under.
const NOTE: &str = "deploys";
/// So many deploys are remembered.
const MAX_PAST: usize = 100;

/// What is written down.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Journal {
    /// The one that was begun and is not over.
    #[serde(default)]
    pub(super) running: Option<Begun>,
    /// Those that are, newest first.
    #[serde(default)]
    pub(super) past: Vec<DeployRecord>,
}

/// A deploy that was begun: all that is needed to go on with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) by: String,
    pub(super) since: u64,
    pub(super) branch: Name,
    pub(super) release: Digest,
    pub(super) tag: String,
    pub(super) image: String,
    pub(super) commit: Option<String>,
    /// What served before.
    pub(super) before: Option<Digest>,
    pub(super) author: String,
    pub(super) message: String,
}

impl Begun {
    /// What others are told of it.
    pub(super) fn told(&self) -> Deploying {
        Deploying {
            by: self.by.clone(),
            since: self.since,
            release: self.release,
            tag: self.tag.clone(),
        }
    }

    fn over(self, ended: u64, end: DeployEnd) -> DeployRecord {
        DeployRecord {
            by: self.by,
            began: self.since,
            ended,
            release: self.release,
            tag: self.tag,
            image: self.image,
            commit: self.commit,
            before: self.before,
            end,
        }
    }
}

impl Journal {
    pub(super) async fn read(repository: &Repository) -> Result<Self, Error> {
        let bytes = repository.note(NOTE).await.context(StoreSnafu)?;
        let Some(bytes) = bytes else {
            return Ok(Self::default());
        };
        serde_json::from_slice(&bytes).ok().context(MalformedSnafu {
            reason: "what is known of the tenant's deploys is of another version of the server",
        })
    }

    /// Writes down what is about to begin: durable when this returns.
    pub(super) async fn begin(repository: &Repository, begun: &Begun) -> Result<(), Error> {
        let mut journal = Self::read(repository).await?;
        journal.running = Some(begun.clone());
        journal.write(repository).await
    }

    /// Writes down how it ended.
    pub(super) async fn end(
        repository: &Repository,
        begun: Begun,
        ended: u64,
        end: DeployEnd,
    ) -> Result<(), Error> {
        let mut journal = Self::read(repository).await?;
        journal.running = None;
        journal.past.insert(0, begun.over(ended, end));
        journal.past.truncate(MAX_PAST);
        journal.write(repository).await
    }

    async fn write(&self, repository: &Repository) -> Result<(), Error> {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        let written = repository.set_note(NOTE, Some(bytes)).await;
        written.context(StoreSnafu)
    }
}
