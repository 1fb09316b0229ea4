//! The versions of files that a pull replaces: what patches of their contents are applied to.

use std::collections::HashMap;

use bytes::Bytes;
use sync_core::{Chunk, Digest, TreePath};
use sync_files::{Contents, Plan, Step, Tree};
use sync_store::pack::Patches;

use crate::Error;
use crate::receive::patched;

/// The files of one chunk that a plan replaces by others of one chunk.
#[derive(Debug)]
pub(crate) struct Bases {
    contents: Contents,
    chunks: HashMap<Digest, (TreePath, Chunk)>,
}

impl Bases {
    pub(crate) fn new(tree: &Tree, plan: &Plan) -> Result<Self, Error> {
        let chunk = |step: &Step| {
            step.wanted.as_ref()?.only_chunk()?;
            let chunk = step.expected.as_ref()?.only_chunk()?;
            Some((chunk.digest, (step.path.clone(), chunk)))
        };
        Ok(Self {
            contents: tree.contents()?,
            chunks: plan.steps.iter().filter_map(chunk).collect(),
        })
    }

    /// The objects that patches make of files as they are now, without those whose file is no longer what it was.
    pub(crate) fn patched(&mut self, patches: &Patches) -> Result<Vec<Bytes>, Error> {
        let mut made = Vec::with_capacity(patches.patches.len());
        for patch in &patches.patches {
            let Some((path, chunk)) = self.chunks.get(&patch.base()) else {
                continue;
            };
            let read = self.contents.read(path, [(0, *chunk)], |_, base| {
                made.push(patched(patch, base)?);
                Ok(())
            });
            match read {
                Err(Error::Files {
                    source: sync_files::Error::Moved { .. },
                }) => {}
                read => read?,
            }
        }
        Ok(made)
    }
}
