//! Packs that this process makes of objects it has checked.

use bytes::Bytes;
use sync_core::Digest;

use crate::Error;
use crate::pack::{Class, Span};
use crate::repository::assembly::{Assembly, Pending};
use crate::repository::receive::Own;

/// A stored pack in the making, of whole blocks and of single objects.
pub(super) struct Packing {
    assembly: Assembly,
    open: [Own; 2],
}

impl Packing {
    pub(super) fn new() -> Result<Self, Error> {
        Ok(Self {
            assembly: Assembly::new(),
            open: [Own::new(Class::Nodes)?, Own::new(Class::Contents)?],
        })
    }

    /// Bytes so far, but for the blocks that are still open.
    pub(super) fn len(&self) -> u64 {
        self.assembly.len()
    }

    pub(super) fn add_block(&mut self, stored: Bytes, objects: &[(Digest, Span)]) {
        self.assembly.push(stored, objects);
    }

    pub(super) fn add(&mut self, class: Class, digest: Digest, object: &[u8]) -> Result<(), Error> {
        let own = &mut self.open[usize::from(class == Class::Contents)];
        if let Some(block) = own.builder.add(object)? {
            let objects = own.objects(&block.spans);
            self.assembly.push(block.stored, &objects);
        }
        own.order.push(digest);
        Ok(())
    }

    /// The complete pack, `None` where nothing is in it.
    pub(super) fn finish(mut self) -> Result<Option<Pending>, Error> {
        for own in &mut self.open {
            if let Some(block) = own.builder.finish()? {
                let objects = own.objects(&block.spans);
                self.assembly.push(block.stored, &objects);
            }
        }
        Ok(self.assembly.finish())
    }
}
