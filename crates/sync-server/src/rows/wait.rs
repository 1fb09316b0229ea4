//! Answers that come when the head moves: one waiting request serves files and rows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use snafu::ResultExt;
use sync_core::SnapshotId;
use sync_store::Repository;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{TenantDatabase, bring_together};
use crate::error::StoreSnafu;
use crate::{Error, Server};

/// The longest that a request waits; below every idle time-out.
const LONGEST: Duration = Duration::from_secs(25);
/// How soon a database is looked at again whose transactions were still running, at first and at last.
const AGAIN: (Duration, Duration) = (Duration::from_millis(2), Duration::from_secs(1));

/// Who waits for the heads of which tenant.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    tenants: Mutex<HashMap<String, watch::Sender<u64>>>,
    /// Whether nobody is to wait any more, as the server ends.
    has_ended: watch::Sender<bool>,
}

impl Waiters {
    /// A head of the tenant has moved.
    pub(crate) fn moved(&self, tenant: &str) {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody is left to be woken where no receiver is.
        if tenants.get(tenant).is_some_and(watch::Sender::is_closed) {
            tenants.remove(tenant);
        }
        if let Some(sender) = tenants.get(tenant) {
            sender.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Has everybody answered who waits, and lets nobody wait any more.
    pub(crate) fn end(&self) {
        self.has_ended.send_replace(true);
    }

    /// Told of every move from now on.
    fn follow(&self, tenant: &str) -> watch::Receiver<u64> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = tenants
            .entry(tenant.to_owned())
            .or_insert_with(|| watch::channel(0).0);
        sender.subscribe()
    }
}

/// Waits until the head is no longer `known`, at most `wait`; gives where it is then. The rows of a database are looked at
/// whenever it says that something changed.
///
/// # Errors
///
/// What the database or the store says.
pub(crate) async fn wait_for(
    server: &Server,
    repository: &Repository,
    database: Option<&Arc<TenantDatabase>>,
    branch: &str,
    known: Option<SnapshotId>,
    wait: Duration,
) -> Result<Option<SnapshotId>, Error> {
    let until = Instant::now() + wait.min(LONGEST);
    let mut moves = server.waiters().follow(repository.name());
    let mut has_ended = server.waiters().has_ended.subscribe();
    let mut listener = match database {
        Some(database) => Some(
            database
                .copy
                .database()
                .listen()
                .await
                .map_err(sync_rows::Error::from)?,
        ),
        None => None,
    };
    let mut pause = AGAIN.0;
    let head = loop {
        let mut is_writing = false;
        let head = match database {
            Some(database) => {
                let _turn = database.turn().await;
                let together = bring_together(server, repository, database).await?;
                is_writing = together.is_writing;
                together.head
            }
            None => repository.head(branch).await.context(StoreSnafu)?,
        };
        if head != known || Instant::now() >= until || *has_ended.borrow() {
            break head;
        }
        // Who was writing may have logged without waking anybody.
        let soon = pause;
        let again = async {
            if is_writing {
                tokio::time::sleep(soon).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        pause = if is_writing {
            (pause * 2).min(AGAIN.1)
        } else {
            AGAIN.0
        };
        let woken = async {
            match &mut listener {
                Some(listener) => listener.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = moves.changed() => {}
            _ = has_ended.changed() => {}
            changed = woken => changed.map_err(sync_rows::Error::from)?,
            () = again => {}
            () = tokio::time::sleep_until(until) => {}
        }
    };
    if let Some(listener) = listener {
        // It only makes the program's transactions cheaper again.
        let _ = listener.close().await;
    }
    Ok(head)
}
