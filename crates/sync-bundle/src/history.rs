//! Which snapshots go into a bundle, each after those that it comes after.

use std::collections::{BTreeSet, HashMap, HashSet};

use sync_core::{Roots, Snapshot, SnapshotId};
use sync_store::Repository;

use crate::Error;
use crate::error::{AskSnafu, HistorySnafu};
use crate::export::AskExport;
use crate::manifest::HeadEntry;

/// A snapshot that goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    /// Its name in the tenant.
    pub(crate) stored: SnapshotId,
    /// What it holds, as far as it goes.
    pub(crate) roots: Roots,
    /// What of that the receiver has by then: that of its first parent.
    pub(crate) before: Roots,
}

/// The history that goes.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Parents first.
    pub(crate) links: Vec<Link>,
    /// What the receiver has to have.
    pub(crate) prerequisites: BTreeSet<SnapshotId>,
    /// What the links come after and nobody keeps.
    pub(crate) expired: BTreeSet<SnapshotId>,
    /// The names of snapshots that go with fewer roots than they have.
    pub(crate) renamed: HashMap<SnapshotId, SnapshotId>,
}

impl History {
    /// The name that a snapshot has in the bundle.
    pub(crate) fn name(&self, stored: SnapshotId) -> SnapshotId {
        self.renamed.get(&stored).copied().unwrap_or(stored)
    }

    /// A snapshot as it goes.
    pub(crate) fn snapshot(&self, snapshot: Snapshot, ask: &AskExport) -> Snapshot {
        let parents = snapshot.parents.iter().map(|parent| self.name(*parent));
        Snapshot {
            parents: parents.collect(),
            roots: ask.of(snapshot.roots),
            ..snapshot
        }
    }
}

/// Walks from the heads, in the order of their names, backwards.
pub(crate) async fn history(
    repository: &Repository,
    heads: &[HeadEntry],
    ask: &AskExport,
) -> Result<History, Error> {
    let most = Repository::MOST_SNAPSHOTS;
    let only: HashSet<_> = heads.iter().map(|head| head.snapshot).collect();
    let known = match ask.since {
        Some(since) => ancestors(repository, since, most).await?,
        None => HashSet::new(),
    };
    let mut history = History::default();
    let mut places: HashMap<SnapshotId, usize> = HashMap::new();
    for head in heads {
        if known.contains(&head.snapshot) {
            // The receiver has all of this branch.
            history.prerequisites.insert(head.snapshot);
            continue;
        }
        // Depth first, so that each comes after its parents: a snapshot waits below those that it comes after.
        let mut open = vec![(head.snapshot, false)];
        while let Some((id, is_ready)) = open.pop() {
            if places.contains_key(&id) {
                continue;
            }
            let snapshot = repository.snapshot(id).await?;
            let mut ahead = Vec::new();
            for parent in &snapshot.parents {
                if places.contains_key(parent) {
                    continue;
                }
                if ask.head_only && !only.contains(parent) {
                    history.expired.insert(*parent);
                } else if known.contains(parent) {
                    history.prerequisites.insert(*parent);
                } else if repository.is_expired(*parent).await? {
                    history.expired.insert(*parent);
                } else {
                    ahead.push((*parent, false));
                }
            }
            if !is_ready && !ahead.is_empty() {
                open.push((id, true));
                open.extend(ahead.into_iter().rev());
                continue;
            }
            let first = snapshot.parents.first();
            let before = match first {
                Some(first) => match places.get(first) {
                    Some(place) => history.links[*place].roots,
                    None if known.contains(first) => roots(repository, *first).await?,
                    None => Roots::default(),
                },
                None => Roots::default(),
            };
            if history.links.len() == most {
                return HistorySnafu { most }.fail();
            }
            if ask.only.is_some() {
                let (name, _) = history
                    .snapshot(snapshot.clone(), ask)
                    .encode()
                    .map_err(|error| Error::malformed("snapshot", error))?;
                history.renamed.insert(id, name);
            }
            places.insert(id, history.links.len());
            history.links.push(Link {
                stored: id,
                roots: ask.of(snapshot.roots),
                before,
            });
        }
    }
    if let Some(since) = ask.since {
        history.prerequisites.insert(since);
    }
    Ok(history)
}

/// What a snapshot holds; nothing where it is known by name alone.
async fn roots(repository: &Repository, id: SnapshotId) -> Result<Roots, Error> {
    if repository.is_expired(id).await? {
        return Ok(Roots::default());
    }
    Ok(repository.snapshot(id).await?.roots)
}

/// A snapshot and everything that it comes after, those that are known by name alone included.
async fn ancestors(
    repository: &Repository,
    since: SnapshotId,
    most: usize,
) -> Result<HashSet<SnapshotId>, Error> {
    if !repository.is_accepted(since).await? {
        let reason = "--since names a snapshot that the tenant does not have";
        return AskSnafu { reason }.fail();
    }
    let (mut known, mut ahead) = (HashSet::from([since]), vec![since]);
    while let Some(id) = ahead.pop() {
        if repository.is_expired(id).await? {
            continue;
        }
        for parent in repository.snapshot(id).await?.parents {
            if known.insert(parent) {
                ahead.push(parent);
            }
        }
        if known.len() > most {
            return HistorySnafu { most }.fail();
        }
    }
    Ok(known)
}
