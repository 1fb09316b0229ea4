//! What a snapshot comes after, back to what the tenant has accepted: a push may bring history with it (ADR 0016).

use std::collections::HashSet;
use std::sync::Arc;

use snafu::{OptionExt, ensure};
use sync_core::{Roots, SnapshotId};

use super::{Received, Repository, RepositoryNodes, closure};
use crate::error::{Error, MalformedSnafu, UnknownSnapshotSnafu};
use crate::task;

/// The most snapshots that a push brings.
pub(super) const MAX_LINEAGE: usize = 1 << 16;

/// A snapshot that was never accepted.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: SnapshotId,
    pub(super) first_parent: Option<SnapshotId>,
    /// Its parents that the tenant has accepted, now or once.
    known: Vec<SnapshotId>,
    pub(super) roots: Roots,
}

impl Repository {
    /// A snapshot and what it comes after, as far as that was never accepted and is not `seen` yet, each after its parents;
    /// nothing where the snapshot itself is not here. At most `most` snapshots are seen.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownSnapshot`] where a parent is neither here nor was accepted, [`Error::Malformed`] where one is none, or
    /// where there are too many.
    pub(super) async fn lineage(
        &self,
        reader: &Arc<RepositoryNodes>,
        id: SnapshotId,
        seen: &mut HashSet<SnapshotId>,
        most: usize,
    ) -> Result<Vec<Link>, Error> {
        let mut links = Vec::new();
        seen.insert(id);
        let Some(first) = self.link(reader, id).await? else {
            return Ok(links);
        };
        // Depth first, so that each comes after its parents: a link waits below those that it comes after.
        let mut open = vec![first];
        while let Some((link, unknown)) = open.last_mut() {
            let Some(parent) = unknown.pop() else {
                if let Some((link, _)) = open.pop() {
                    links.push(link);
                }
                continue;
            };
            let child = link.id;
            if !seen.insert(parent) {
                continue;
            }
            ensure!(
                seen.len() <= most,
                MalformedSnafu {
                    place: format!("snapshot {child}"),
                    reason: format!("more than {most} snapshots come with it"),
                }
            );
            let found = self.link(reader, parent).await?;
            open.push(found.context(UnknownSnapshotSnafu { id: parent })?);
        }
        Ok(links)
    }

    /// A snapshot that is here, and its parents that were never accepted.
    async fn link(
        &self,
        reader: &Arc<RepositoryNodes>,
        id: SnapshotId,
    ) -> Result<Option<(Link, Vec<SnapshotId>)>, Error> {
        let reader = Arc::clone(reader);
        let Some(bytes) = task::blocking(move || reader.object(&id.0)).await? else {
            return Ok(None);
        };
        let snapshot = closure::snapshot(id, &bytes)?;
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for parent in &snapshot.parents {
            let is_known = self.is_accepted(*parent).await? || self.is_expired(*parent).await?;
            if is_known { &mut known } else { &mut unknown }.push(*parent);
        }
        let link = Link {
            id,
            first_parent: snapshot.parents.first().copied(),
            known,
            roots: snapshot.roots,
        };
        Ok(Some((link, unknown)))
    }

    /// Whether a snapshot that is stored and was never accepted comes directly after `head`, or after it and others that were
    /// never accepted; after nothing where that is `None`.
    pub async fn comes_after(
        &self,
        id: SnapshotId,
        head: Option<SnapshotId>,
    ) -> Result<bool, Error> {
        let reader = Arc::new(RepositoryNodes::new(self.clone(), &Received::nothing()));
        let mut seen = HashSet::new();
        let lineage = self.lineage(&reader, id, &mut seen, MAX_LINEAGE);
        let lineage = match lineage.await {
            Err(Error::UnknownSnapshot { .. } | Error::Malformed { .. }) => return Ok(false),
            lineage => lineage?,
        };
        let mut known = lineage.iter().flat_map(|link| &link.known);
        Ok(!lineage.is_empty()
            && match head {
                Some(head) => known.any(|known| *known == head),
                None => known.next().is_none(),
            })
    }
}
