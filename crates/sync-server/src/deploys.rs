//! Deploys: a tenant's program runs another release, or goes on as it was (ADR 0020).
//!
//! - `settings`: what the operator says of the place where it runs, and of the registry.
//! - `place`: from that to an adapter of [`sync_deploy::Deployer`].
//! - `journal`: the deploy that runs and those that are over, as a note of the tenant.
//! - `run`: start, wait, switch, move the head, or take back.
//! - `ask`: the requests.
//!
//! **Invariant:** the head of the branch names what serves. It moves after the release was switched to, and a server that ends
//! in between goes on with that when it starts; nobody else moves that root while the tenant has a place.

mod ask;
mod journal;
mod place;
mod run;
mod settings;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use snafu::{OptionExt, ResultExt, ensure};
use sync_core::SnapshotId;
use sync_store::protocol::deploy::{DeploySettings, Deploying};
use sync_store::{Received, Repository};

use crate::error::{DeployingSnafu, NoPlaceSnafu, OtherReleaseSnafu, StoreSnafu};
use crate::{Error, Server};

pub(crate) use ask::{begin, deploy, deploys, go, look, registry, registry_token, status};
pub(crate) use place::in_adapters;
pub(crate) use settings::fly_app;
pub(crate) use settings::{set_settings, show_settings};

pub use place::Places;

/// Who deploys which tenant at this moment.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<String, Deploying>>);

/// The turn of one tenant, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    tenant: String,
}

impl Turns {
    /// Takes the tenant's turn.
    ///
    /// # Errors
    ///
    /// [`Error::Deploying`] where somebody else has it.
    fn take(self: &Arc<Self>, tenant: &str, running: Deploying) -> Result<Turn, Error> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = turns.get(tenant) {
            let running = Box::new(other.clone());
            return DeployingSnafu { running }.fail();
        }
        turns.insert(tenant.to_owned(), running);
        Ok(Turn {
            turns: Arc::clone(self),
            tenant: tenant.to_owned(),
        })
    }

    fn running(&self, tenant: &str) -> Option<Deploying> {
        let turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.get(tenant).cloned()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = self.turns.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.remove(&self.tenant);
    }
}

/// What the operator says of the tenant's program.
///
/// # Errors
///
/// [`Error::NoPlace`] where nobody has said anything.
async fn settings_of(repository: &Repository) -> Result<DeploySettings, Error> {
    let found = settings::read_settings(repository).await?;
    found.context(NoPlaceSnafu {
        tenant: repository.name(),
    })
}

/// Refuses a push that would have the head name another release than serves; what was received is kept, so that it can be
/// deployed by its name.
///
/// # Errors
///
/// [`Error::OtherRelease`].
pub(crate) async fn ensure_release(
    repository: &Repository,
    received: &Received,
    branch: &str,
    [head, target]: [Option<SnapshotId>; 2],
) -> Result<(), Error> {
    let settings = settings::read_settings(repository).await?;
    if settings.is_none_or(|settings| settings.branch.as_str() != branch) {
        return Ok(());
    }
    let mut releases = [None; 2];
    for (release, id) in releases.iter_mut().zip([head, target]) {
        if let Some(id) = id {
            let snapshot = repository.received_snapshot(received, id).await;
            *release = snapshot
                .context(StoreSnafu)?
                .and_then(|snapshot| snapshot.roots.release);
        }
    }
    if releases[0] != releases[1] {
        repository.record(received).await.context(StoreSnafu)?;
    }
    ensure!(releases[0] == releases[1], OtherReleaseSnafu);
    Ok(())
}

impl Server {
    /// Goes on with deploys that a server before this one did not end: what serves by now is recorded, everything else taken
    /// back. Call it once, beside serving; what does not succeed is tried again before the tenant's next deploy.
    pub async fn resume_deploys(&self) {
        let tenants = self.store().tenants().await.unwrap_or_default();
        for tenant in tenants {
            let Ok(Some(repository)) = self.store().tenant(&tenant).await else {
                continue;
            };
            if let Err(error) = run::resume(self, &repository).await {
                let reason = crate::answer::chain(&error);
                tracing::error!(%tenant, %reason, "a deploy that was cut short stays so");
            }
        }
    }
}
