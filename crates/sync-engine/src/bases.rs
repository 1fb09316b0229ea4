//! The versions of files that a pull replaces: what patches of their contents are applied to.

use std::collections::HashMap;

use sync_core::{Chunk, Digest, TreePath};
use sync_files::{Contents, Plan, Step, Tree};
use sync_store::pack::Class;

use crate::Error;
use crate::receive::{Arrived, Object};

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

    /// The object that arrived, or that a patch makes of a file as it is now; `None` where the file is no longer what it was.
    pub(crate) fn object(&mut self, arrived: Arrived) -> Result<Option<Object>, Error> {
        let patch = match arrived {
            Arrived::Object(object) => return Ok(Some(object)),
            Arrived::Patch(_, patch) => patch,
        };
        let Some((file, chunk)) = self.chunks.get(&patch.base()) else {
            return Ok(None);
        };
        let mut made = None;
        let read = self.contents.read(
            file,
            &[*chunk],
            |_| true,
            |_, base| {
                made = Some(Object::patched(Class::Contents, &patch, base)?);
                Ok(())
            },
        );
        match read {
            Err(Error::Files {
                source: sync_files::Error::Moved { .. },
            }) => Ok(None),
            read => read.map(|()| made),
        }
    }
}
