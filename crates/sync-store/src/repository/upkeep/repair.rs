//! Good copies take the place of damaged and missing objects.

use std::pin::pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use sync_core::Digest;

use super::packing::Packing;
use crate::Error;
use crate::catalogue::Location;
use crate::error::BoxError;
use crate::pack::{Class, Event, PackDecoder, PackError};
use crate::protocol::Repaired;
use crate::repository::{Repository, blocks};

/// How many bytes of good copies are gathered before they are stored.
const BATCH: usize = 16 << 20;

impl Repository {
    /// Takes in a pack of good copies: each is digested, and those that are damaged or missing here are stored anew,
    /// durable when this returns. The others are dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Pack`] or [`Error::Cut`] where the stream is no whole pack; what was stored until then stays.
    pub async fn repair<E: Into<BoxError>>(
        &self,
        stream: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<Repaired, Error> {
        let mut stream = pin!(stream);
        let mut decoder = PackDecoder::new()?;
        let mut repaired = Repaired::default();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|source| Error::Cut {
                source: source.into(),
            })?;
            decoder.push(&piece);
            while let Some(event) = decoder.next_event()? {
                let block = match event {
                    Event::Block(block) => block,
                    // What is damaged may be the base.
                    Event::Patches(_) => return Err(PackError::Stored.into()),
                    Event::End { .. } => continue,
                };
                for object in block.objects() {
                    bytes += object.len();
                    batch.push((block.header.class, object));
                }
                if bytes >= BATCH {
                    bytes = 0;
                    repaired.objects += self.repair_objects(std::mem::take(&mut batch)).await?;
                }
            }
        }
        decoder.finish()?;
        repaired.objects += self.repair_objects(batch).await?;
        Ok(repaired)
    }

    /// The same for objects of this process; gives how many took the place of damaged or missing ones.
    pub async fn repair_objects(&self, objects: Vec<(Class, Bytes)>) -> Result<u64, Error> {
        let mut packing = Packing::new()?;
        let mut count = 0;
        for (class, object) in objects {
            let digest = Digest::of(&object);
            if !self.is_intact(&digest).await? {
                packing.add(class, digest, &object)?;
                count += 1;
            }
        }
        let Some(pending) = packing.finish()? else {
            return Ok(0);
        };
        let _storing = self.storing.read().await;
        let record = &pending.record;
        // It may be the very pack that is damaged.
        self.blobs.replace(&record.name, &pending.parts).await?;
        self.blocks.forget(&record.name);
        self.catalogue.replace(self.tenant.id, record).await?;
        Ok(count)
    }

    async fn is_intact(&self, digest: &Digest) -> Result<bool, Error> {
        let location = self.locate(&[*digest]).await?.into_iter().flatten().next();
        match location {
            Some(location) => Ok(self.fault(digest, &location).await?.is_none()),
            None => Ok(false),
        }
    }

    /// What is wrong with a stored object, as it is on disk; other errors are those of the store.
    pub(super) async fn fault(
        &self,
        digest: &Digest,
        location: &Location,
    ) -> Result<Option<&'static str>, Error> {
        let read = async {
            let stored = self.stored_block(location).await?;
            let block = blocks::decode(stored, &location.pack)?;
            blocks::object(&block.raw, location, digest)
        };
        match read.await {
            Ok(_) => Ok(None),
            Err(Error::Corrupt { reason, .. }) => Ok(Some(reason)),
            // A pack that is too short.
            Err(Error::Blobs { .. }) if self.is_cut(location).await? => {
                Ok(Some("the pack is too short"))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a pack is there and ends before the block does.
    async fn is_cut(&self, location: &Location) -> Result<bool, Error> {
        let end = u64::from(location.place.block) + u64::from(location.place.block_len);
        Ok(self
            .pack_len(&location.pack)
            .await?
            .is_some_and(|len| len < end))
    }

    /// How many bytes a pack has; `None` where it is not there.
    pub(super) async fn pack_len(&self, name: &Digest) -> Result<Option<u64>, Error> {
        // The name before this one, so that the list begins with it.
        let mut before = *name.as_bytes();
        for byte in before.iter_mut().rev() {
            let (less, borrows) = byte.overflowing_sub(1);
            *byte = less;
            if !borrows {
                break;
            }
        }
        let before = Some(Digest::from_bytes(before)).filter(|before| before < name);
        let listed = self.blobs.list(before.as_ref(), 1).await?;
        let found = listed.into_iter().find(|(found, _)| found == name);
        Ok(found.map(|(_, len)| len))
    }
}
