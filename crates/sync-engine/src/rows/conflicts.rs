//! What a person has to choose about rows: listed by a plan, kept in the workspace, resolved one by one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use snafu::{ResultExt, ensure};
use sync_rows::{OpenConflict, Resolution, Resolutions};

use crate::error::{NoConflictSnafu, StateSnafu, WriteSnafu};
use crate::state::{Sync, replace};
use crate::{Error, Workspace};

/// In the private directory.
const FILE: &str = "conflicts.json";

/// The conflicts with each tenant and branch, by the key of [`crate::state::State`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Kept {
    conflicts: BTreeMap<String, Vec<OpenConflict>>,
}

fn path(workspace: &Workspace) -> PathBuf {
    workspace.private().join(FILE)
}

/// A row as people are told of it in a line.
pub(crate) fn named(conflict: &OpenConflict) -> String {
    let key = conflict.key.iter().map(|(_, value)| value.as_str());
    format!("{} {}", conflict.table, key.collect::<Vec<_>>().join(", "))
}

/// The conflicts that the last sync with the workspace's tenant and branch listed, with what was chosen about them since.
///
/// # Errors
///
/// Where the file is there and cannot be read.
pub fn list(workspace: &Workspace) -> Result<Vec<OpenConflict>, Error> {
    let mut kept = load(workspace)?;
    Ok(kept.conflicts.remove(&workspace.key()?).unwrap_or_default())
}

fn load(workspace: &Workspace) -> Result<Kept, Error> {
    let path = path(workspace);
    let damaged = |reason: String| {
        StateSnafu {
            path: &path,
            reason,
        }
        .build()
    };
    match std::fs::read(&path) {
        Ok(bytes) => {
            let kept: Result<Kept, _> = serde_json::from_slice(&bytes);
            kept.map_err(|error| damaged(error.to_string()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Kept::default()),
        Err(error) => Err(damaged(error.to_string())),
    }
}

/// Chooses for the conflict whose id starts with `id`, or with `None` for all that are open; gives what was chosen. The next
/// sync does it.
///
/// # Errors
///
/// [`Error::NoConflict`] where none, or several, start so; nothing is chosen then.
pub fn resolve(
    workspace: &Workspace,
    now: u64,
    id: Option<&str>,
    resolution: Resolution,
) -> Result<Vec<OpenConflict>, Error> {
    let _lock = workspace.lock(now)?;
    let mut conflicts = list(workspace)?;
    let is_meant = |conflict: &OpenConflict| match id {
        Some(id) => conflict.id.starts_with(id),
        None => conflict.resolution.is_none(),
    };
    let mut chosen = Vec::new();
    for conflict in conflicts.iter_mut().filter(|conflict| is_meant(conflict)) {
        conflict.resolution = Some(resolution);
        chosen.push(conflict.clone());
    }
    if let Some(id) = id {
        let found = chosen.len();
        ensure!(found == 1, NoConflictSnafu { id, found });
    }
    keep(workspace, &conflicts)?;
    Ok(chosen)
}

/// Forgets all of them: what was chosen is done.
pub(super) fn settled(workspace: &Workspace) -> Result<(), Error> {
    keep(workspace, &[])
}

/// Keeps the conflicts that a plan still has in place of those of the last one. What was chosen before stays until it is
/// done: it is for two versions of a row alone.
pub(super) fn keep_open(workspace: &Workspace, open: &[OpenConflict]) -> Result<(), Error> {
    if open.is_empty() {
        return Ok(());
    }
    let mut kept = open.to_vec();
    let chosen = list(workspace)?.into_iter();
    kept.extend(chosen.filter(|conflict| {
        conflict.resolution.is_some() && open.iter().all(|open| open.id != conflict.id)
    }));
    keep(workspace, &kept)
}

fn keep(workspace: &Workspace, conflicts: &[OpenConflict]) -> Result<(), Error> {
    let path = path(workspace);
    if conflicts.is_empty() && !path.exists() {
        return Ok(());
    }
    workspace.make_private()?;
    let (mut kept, key) = (load(workspace)?, workspace.key()?);
    if conflicts.is_empty() {
        kept.conflicts.remove(&key);
    } else {
        kept.conflicts.insert(key, conflicts.to_vec());
    }
    let bytes = serde_json::to_vec_pretty(&kept).unwrap_or_default();
    replace(&path, &bytes, Sync::Yes).context(WriteSnafu { path })
}

/// What was chosen, by conflict.
pub(super) fn resolutions(workspace: &Workspace) -> Result<Resolutions, Error> {
    let conflicts = list(workspace)?.into_iter();
    let resolved = conflicts.filter_map(|conflict| Some((conflict.id, conflict.resolution?)));
    Ok(resolved.collect())
}
