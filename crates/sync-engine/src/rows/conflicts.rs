//! What a person has to choose about rows: listed by a plan, kept in the workspace, resolved one by one.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use snafu::{OptionExt, ResultExt};
use sync_rows::{OpenConflict, Resolution, Resolutions};

use crate::error::{NoConflictSnafu, StateSnafu, WriteSnafu};
use crate::state::{Sync, replace};
use crate::{Error, Session};

/// In the private directory.
const FILE: &str = "conflicts.json";

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Kept {
    conflicts: Vec<OpenConflict>,
}

impl Session {
    fn conflicts_path(&self) -> PathBuf {
        self.workspace.private().join(FILE)
    }

    /// The conflicts that the last sync listed, with what was chosen about them since.
    pub fn conflicts(&self) -> Result<Vec<OpenConflict>, Error> {
        let path = self.conflicts_path();
        match std::fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice::<Kept>(&bytes) {
                Ok(kept) => Ok(kept.conflicts),
                Err(error) => StateSnafu { path, reason: error.to_string() }.fail(),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => StateSnafu { path, reason: error.to_string() }.fail(),
        }
    }

    /// Chooses for the conflict whose id starts so, or with `None` for all that are open; gives what was chosen.
    /// The next sync does it.
    ///
    /// # Errors
    ///
    /// [`Error::NoConflict`] where none, or several, start so.
    pub fn resolve(
        &self,
        id: Option<&str>,
        resolution: Resolution,
    ) -> Result<Vec<OpenConflict>, Error> {
        let _lock = self.lock()?;
        let mut conflicts = self.conflicts()?;
        let chosen: Vec<usize> = conflicts
            .iter()
            .enumerate()
            .filter(|(_, conflict)| match id {
                Some(id) => conflict.id.starts_with(id),
                None => conflict.resolution.is_none(),
            })
            .map(|(index, _)| index)
            .collect();
        if let Some(id) = id {
            let only = (chosen.len() == 1).then_some(());
            only.context(NoConflictSnafu { id, found: chosen.len() })?;
        }
        for index in &chosen {
            conflicts[*index].resolution = Some(resolution);
        }
        self.keep_conflicts(&conflicts)?;
        Ok(chosen.into_iter().map(|index| conflicts[index].clone()).collect())
    }

    pub(super) fn keep_conflicts(&self, conflicts: &[OpenConflict]) -> Result<(), Error> {
        let path = self.conflicts_path();
        if conflicts.is_empty() && !path.exists() {
            return Ok(());
        }
        self.workspace.make_private()?;
        let kept = Kept {
            conflicts: conflicts.to_vec(),
        };
        let bytes = serde_json::to_vec_pretty(&kept).unwrap_or_default();
        replace(&path, &bytes, Sync::Yes).context(WriteSnafu { path })
    }

    /// What was chosen, by conflict.
    pub(super) fn resolutions(&self) -> Result<Resolutions, Error> {
        let conflicts = self.conflicts()?.into_iter();
        let resolved = conflicts.filter_map(|conflict| Some((conflict.id, conflict.resolution?)));
        Ok(resolved.collect())
    }
}
