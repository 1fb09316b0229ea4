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

use std::sync::Arc;

use sync_core::Digest;
use sync_core::map::Map;
use sync_db::Epoch;
use sync_rows::Copy;

pub(crate) use current::{Current, current};
pub(crate) use land::accept;
pub(crate) use open::Databases;
pub(crate) use record::{read_record, set_record, show_record};
pub(crate) use together::bring_together;
pub(crate) use wait::{Waiters, wait_for};

pub use record::DatabaseRecord;

/// What the other side of a tenant's database is called in its bookkeeping.
const REMOTE: &str = "tenant";

/// The database of a tenant.
#[derive(Debug)]
pub(crate) struct TenantDatabase {
    copy: Copy,
    /// The branch that it is the working copy of.
    branch: String,
    /// Held while branch and database are brought together, and while either moves.
    turn: tokio::sync::Mutex<()>,
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

    /// The branch that it is the working copy of.
    pub(crate) fn branch(&self) -> &str {
        &self.branch
    }
}

/// A name for the state that a database is about to be left in.
fn epoch() -> Result<Epoch, crate::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|source| crate::Error::Random { source })?;
    Ok(Epoch(bytes))
}

/// A map of tables that a snapshot may not have.
fn rows_of(rows: Option<Digest>) -> Digest {
    rows.unwrap_or(Map::empty_root())
}

/// Gives the value of an environment variable; the program that serves decides which there are.
pub type Variables = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;
