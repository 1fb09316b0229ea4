//! What wakes a manager.

use std::time::Duration;

use sync_core::SnapshotId;
use sync_store::protocol::Part;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::machine::{Input, Wakes};
use crate::all::WithDatabase;
use crate::rows::Direction;
use crate::{SyncService, Watcher};

/// How long a request waits at the tenant.
const WAIT: Duration = Duration::from_secs(20);

/// Who tells of changes.
pub(super) struct Ears {
    watcher: Option<Watcher>,
    /// The database, while there is a connection that is told.
    listener: Option<sync_db::Listener>,
    /// Whether any of its tables tells of changes.
    is_tracked: bool,
    /// Where the tenant's branch was when the last run ended.
    pub(super) head: Option<SnapshotId>,
}

/// Why a wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// Something may have changed.
    Changed,
    /// Somebody who tells of changes is gone.
    Lost,
    /// It was long enough.
    Elapsed,
    /// Somebody wants something.
    Told(Input),
}

impl Waited {
    /// What it is for the machine.
    pub(super) const fn input(self) -> Input {
        match self {
            Self::Changed => Input::Wake,
            Self::Lost => Input::Lost,
            Self::Elapsed => Input::Elapsed,
            Self::Told(input) => input,
        }
    }
}

impl Ears {
    pub(super) const fn new(watcher: Option<Watcher>) -> Self {
        Self {
            watcher,
            listener: None,
            is_tracked: false,
            head: None,
        }
    }

    /// Listens to the database where there is one; `false` where that is not possible, which a run will say, too.
    pub(super) async fn listen(&mut self, service: &SyncService) -> bool {
        let WithDatabase::There(database) = service.config().database() else {
            return true;
        };
        if self.listener.is_none() {
            self.listener = database.listen().await.ok();
            self.is_tracked = false;
        }
        // Tables may have been tracked since.
        if self.listener.is_some() && !self.is_tracked {
            let tracked = database.tracked().await.unwrap_or_default();
            self.is_tracked = tracked.iter().any(|table| table.is_intact);
        }
        self.listener.is_some()
    }

    /// Whether there is a database that cannot tell of changes.
    pub(super) const fn is_untracked(&self) -> bool {
        self.listener.is_some() && !self.is_tracked
    }

    /// Waits until something has changed, the wait is over, or somebody wants something.
    pub(super) async fn wait(
        &mut self,
        shared: &Shared,
        commands: &mut UnboundedReceiver<Input>,
        bound: Option<Instant>,
        wakes: Wakes,
    ) -> Waited {
        let direction = shared.service.config().direction();
        let hears_local = wakes != Wakes::Nobody && direction != Direction::Pull;
        let hears_tenant =
            wakes == Wakes::Both && direction != Direction::Push && shared.has_tenant();
        let Self {
            watcher,
            listener,
            head,
            ..
        } = self;
        let saved = async {
            match watcher {
                Some(watcher) if hears_local => watcher.saved().await,
                _ => std::future::pending().await,
            }
        };
        let committed = async {
            match listener {
                Some(listener) if hears_local => listener.changed().await.is_ok(),
                _ => std::future::pending().await,
            }
        };
        let moved = async {
            if hears_tenant {
                moved(&shared.service, *head).await
            } else {
                std::future::pending().await
            }
        };
        let elapsed = async {
            match bound {
                Some(bound) => sleep_until(bound).await,
                None => std::future::pending().await,
            }
        };
        let (waited, is_deaf) = tokio::select! {
            biased;
            command = commands.recv() => (Waited::Told(command.unwrap_or(Input::Stop)), false),
            is_told = committed => if is_told { (Waited::Changed, false) } else { (Waited::Lost, true) },
            () = saved => (Waited::Changed, false),
            is_answered = moved => (if is_answered { Waited::Changed } else { Waited::Lost }, false),
            () = elapsed => (Waited::Elapsed, false),
        };
        if is_deaf {
            self.listener = None;
        }
        waited
    }
}

/// Waits until the branch is no longer at `head`; `false` where the tenant is gone.
async fn moved(service: &SyncService, head: Option<SnapshotId>) -> bool {
    let part = match service.config().database() {
        WithDatabase::There(_) => Part::All,
        _ => Part::Files,
    };
    loop {
        match service.remote().moved(head, WAIT, part).await {
            Ok(true) => return true,
            Ok(false) => {}
            Err(_) => return false,
        }
    }
}
