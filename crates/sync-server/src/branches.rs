//! The branches of a tenant: which there are, and that one goes.

use http::{Response, StatusCode};
use snafu::{OptionExt, ResultExt, ensure};
use sync_core::{Name, SnapshotId};
use sync_store::protocol::{Branch, BranchRoots, Branches};
use sync_store::{Removed, Repository};
use sync_transport::Body;

use crate::error::{BranchKeptSnafu, MalformedSnafu, StaleSnafu, StoreSnafu};
use crate::rows::read_record;
use crate::{Error, Server, answer};

/// The branch that every tenant has in the end: clients of the earlier system know no other.
pub(crate) const MAIN: &str = "main";

/// Lists the branches, by name.
pub(crate) async fn list(repository: &Repository) -> Result<Response<Body>, Error> {
    let mut branches = Vec::new();
    for (branch, head) in heads(repository).await? {
        let snapshot = repository.snapshot(head).await.context(StoreSnafu)?;
        branches.push(Branch {
            branch,
            head,
            snapshot,
        });
    }
    Ok(answer::json(StatusCode::OK, &Branches { branches }))
}

/// What the branches beside this one hold.
pub(crate) async fn beside(
    repository: &Repository,
    branch: &Name,
) -> Result<Vec<BranchRoots>, Error> {
    let mut found = Vec::new();
    for (other, head) in heads(repository).await? {
        if other != *branch {
            let snapshot = repository.snapshot(head).await.context(StoreSnafu)?;
            found.push(BranchRoots {
                branch: other,
                head,
                roots: snapshot.roots,
            });
        }
    }
    Ok(found)
}

async fn heads(repository: &Repository) -> Result<Vec<(Name, SnapshotId)>, Error> {
    let heads = repository.heads().await.context(StoreSnafu)?;
    // The store takes other names, too; who speaks this protocol can make none of them.
    let named = |(name, head): (String, SnapshotId)| Some((name.parse().ok()?, head));
    Ok(heads.into_iter().filter_map(named).collect())
}

/// Removes a branch whose head is where the caller expects it.
///
/// # Errors
///
/// [`Error::BranchKept`] for `main` and for the branch that the tenant's database serves, [`Error::Stale`] where the head is
/// another.
pub(crate) async fn delete(
    server: &Server,
    repository: &Repository,
    branch: &Name,
    expected: Option<SnapshotId>,
) -> Result<Response<Body>, Error> {
    let expected = expected.context(MalformedSnafu {
        reason: "a branch goes with `if-match: \"<snapshot>\"`",
    })?;
    let kept = |reason: &'static str| BranchKeptSnafu {
        branch: branch.as_str(),
        reason,
    };
    ensure!(
        branch.as_str() != MAIN,
        kept("it is the one that every tenant has")
    );
    let database = read_record(repository).await?;
    ensure!(
        database.is_none_or(|database| database.branch != *branch),
        kept("the tenant's database is the working copy of it")
    );
    let removed = repository
        .remove_branch(branch.as_str(), expected, server.now())
        .await;
    match removed.context(StoreSnafu)? {
        Removed::Gone => {
            server.waiters().moved(repository.name());
            Ok(answer::empty(StatusCode::NO_CONTENT))
        }
        Removed::Stale { head } => StaleSnafu { head }.fail(),
    }
}
