//! The rows of a branch as they are now.

use snafu::ResultExt;
use sync_core::{Digest, Roots, SnapshotId};
use sync_store::Repository;

use super::{bring_together, rows_of};
use crate::error::StoreSnafu;
use crate::{Error, Server};

/// The rows of a branch, brought together with the tenant's database where the branch has one.
#[derive(Debug)]
pub(crate) struct Current {
    /// Where the branch is.
    pub(crate) head: Option<SnapshotId>,
    /// What its snapshot holds.
    pub(crate) roots: Roots,
    /// The map of tables. It has the tables of a database that no snapshot has yet, because they are empty.
    pub(crate) tables: Digest,
    /// Whether there is a database, which alone says which tables there are.
    pub(crate) has_database: bool,
}

/// Looks at the tenant's database first, and then at the branch.
///
/// # Errors
///
/// What the database or the store says.
pub(crate) async fn current(
    server: &Server,
    repository: &Repository,
    branch: &str,
) -> Result<Current, Error> {
    let database = server.database(repository).await?;
    let database = database.filter(|database| database.branch() == branch);
    let Some(database) = database else {
        let head = repository.head(branch).await.context(StoreSnafu)?;
        let roots = roots(repository, head).await?;
        return Ok(Current {
            head,
            roots,
            tables: rows_of(roots.rows),
            has_database: false,
        });
    };
    let _turn = database.turn().await;
    let together = Box::pin(bring_together(server, repository, &database)).await?;
    let roots = roots(repository, together.head).await?;
    let (captured, held) = (together.capture.root, rows_of(roots.rows));
    Ok(Current {
        head: together.head,
        roots,
        tables: database.copy.overlay(captured, held).await?,
        has_database: true,
    })
}

async fn roots(repository: &Repository, head: Option<SnapshotId>) -> Result<Roots, Error> {
    Ok(match head {
        Some(id) => repository.snapshot(id).await.context(StoreSnafu)?.roots,
        None => Roots::default(),
    })
}
