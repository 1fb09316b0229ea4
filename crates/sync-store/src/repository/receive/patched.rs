//! Objects that come as differences from stored ones.

use std::collections::HashMap;

use bytes::Bytes;
use sync_core::Digest;

use super::Receiving;
use crate::pack::{Class, Patches};
use crate::{Error, task};

impl Receiving {
    /// Makes the objects of patches, to be stored whole. One whose base is not stored, or is damaged, is left out:
    /// whoever needs it finds it missing and has it sent.
    pub(super) fn take_patches(&mut self, patches: &Patches) -> Result<(), Error> {
        self.received.objects += patches.patches.len() as u64;
        let mut by_base = HashMap::<Digest, Vec<usize>>::new();
        for (index, patch) in patches.patches.iter().enumerate() {
            by_base.entry(patch.base()).or_default().push(index);
        }
        let mut bases: Vec<_> = by_base.keys().copied().collect();
        let mut made = vec![None; patches.patches.len()];
        let mut malformed = None;
        let mut apply = |base: Digest, bytes: Bytes| {
            for index in by_base.get(&base).into_iter().flatten() {
                match patches.patches[*index].apply(&bytes) {
                    Ok(object) => made[*index] = Some(object),
                    Err(error) => malformed = Some(error),
                }
            }
        };
        let (repository, is_nodes) = (&self.repository, patches.class == Class::Nodes);
        if is_nodes {
            bases.retain(|base| match repository.remembered(base) {
                Some(bytes) => {
                    apply(*base, bytes);
                    false
                }
                None => true,
            });
        }
        // Blocks are gone through one after the other, so memory is bounded by one and by what the patches make.
        let read = repository.objects(&bases, |base, bytes| {
            if is_nodes {
                // What looks at the difference next reads it again.
                repository.remember(base, &bytes);
            }
            apply(base, bytes);
        });
        match task::block_on(&self.runtime, read) {
            Ok(_) => {}
            Err(Error::Corrupt { digest, reason }) => {
                tracing::warn!(%digest, reason, "the base of a patch is damaged");
            }
            Err(error) => return Err(error),
        }
        if let Some(error) = malformed {
            return Err(error.into());
        }
        let objects = made.into_iter().flatten();
        let named = objects.map(|object| (patches.class, Digest::of(&object), object));
        let mut named: Vec<_> = named.collect();
        if is_nodes {
            // Likewise. Nothing accepted names them before they are recorded, so nobody reads them who should not.
            for (_, digest, node) in &named {
                self.repository.remember(*digest, node);
            }
        }
        self.take_batch(&mut named).map(drop)
    }
}
