//! Tenants that have a database: what their programs change becomes snapshots, what is pushed becomes rows.
//!
//! - [`DatabaseRecord`]: what the operator says of a tenant's database; its address is only named there.
//! - `open`: from the record to a connection. `together`: branch and database are brought together before anything is said
//!   about rows. `current`: the rows as they are then. `land`: a push of rows. `wait`: answers that come when the head moves.
//!
//! **Invariant:** the commit in the database is the commit of a push. A head that is behind it moves when the tenant is next
//! asked.

mod current;
mod land;
mod open;
mod record;
mod together;
mod wait;

use std::sync::{Arc, PoisonError};

use sync_core::map::Map;
use sync_core::{Digest, SnapshotId};
use sync_db::{Capture, Epoch};
use sync_rows::WorkingCopy;
use sync_store::{Advanced, Repository};

use crate::error::StaleSnafu;
use crate::{Error, Server};

pub(crate) use current::{Current, current};
pub(crate) use land::accept;
pub(crate) use open::Databases;
pub(crate) use record::{read_record, set_record, show_record, write_record};
pub(crate) use together::bring_together;
pub(crate) use wait::{Waiters, wait_for};

pub use record::DatabaseRecord;

/// What the other side of a tenant's database is called in its bookkeeping.
const REMOTE: &str = "tenant";

/// The database of a tenant.
#[derive(Debug)]
pub(crate) struct TenantDatabase {
    copy: WorkingCopy,
    /// The branch that it is the working copy of.
    branch: String,
    /// Held while branch and database are brought together, and while either moves.
    turn: tokio::sync::Mutex<()>,
    /// What the last look found, for the push that follows it.
    seen: std::sync::Mutex<Option<Seen>>,
}

/// A database that held what the branch had, a moment ago.
#[derive(Debug)]
struct Seen {
    head: Option<SnapshotId>,
    /// The map of tables that was agreed on.
    root: Digest,
    capture: Capture,
}

/// What branch and database last agreed on.
type Agreed = sync_rows::Agreed<Note>;

/// Nothing else is remembered with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
struct Note {}

impl TenantDatabase {
    /// Waits until nobody else moves branch or database.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    fn see(&self, seen: Seen) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }

    /// What the last look found, once. Rows that changed since are not overwritten by whoever goes on from it: an apply
    /// compares those that it changes, and the cursor of the logs stays where it was.
    fn take_seen(&self) -> Option<Seen> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// The branch that it is the working copy of.
    pub(crate) fn branch(&self) -> &str {
        &self.branch
    }
}

/// Agreement on the rows under `root` at a snapshot of the branch.
fn agreed_on(snapshot: Option<SnapshotId>, root: Digest) -> Agreed {
    Agreed {
        snapshot,
        root,
        note: Note {},
    }
}

/// What came of moving the head to `target`; whoever waits for that is told.
fn moved(
    server: &Server,
    repository: &Repository,
    target: SnapshotId,
    advanced: Advanced,
) -> Result<SnapshotId, Error> {
    match advanced {
        Advanced::Moved | Advanced::Already => {
            if advanced == Advanced::Moved {
                server.metrics().heads_moved.add(1);
            }
            server.waiters().moved(repository.name());
            Ok(target)
        }
        Advanced::Stale { head } => StaleSnafu { head }.fail(),
    }
}

/// A name for the state that a database is about to be left in.
fn epoch() -> Result<Epoch, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|source| Error::Random { source })?;
    Ok(Epoch(bytes))
}

/// A map of tables that a snapshot may not have.
fn rows_of(rows: Option<Digest>) -> Digest {
    rows.unwrap_or(Map::empty_root())
}

/// Gives the value of an environment variable; the program that serves decides which there are.
pub type Variables = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;
