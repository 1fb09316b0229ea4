//! Every pack is read, every object digested, and everything that snapshots need looked for.

use std::collections::HashMap;

use sync_core::{Digest, SnapshotId};

use super::Objects;
use super::walk::{Lost, Role, Visitor, Walk};
use crate::catalogue::StoredPack;
use crate::pack::{DecodedBlock, Event, MAGIC, PackDecoder, PackError, narrow};
use crate::protocol::{Damage, VerifyReport};
use crate::repository::{Keep, Repository};
use crate::{Error, task};

/// How many bytes of a pack are read at once.
const PIECE: u64 = 1 << 20;

/// What is found while snapshots are followed.
struct Needs {
    /// Objects that were read and are intact.
    intact: Objects,
    /// What is wrong with objects that are not.
    faults: HashMap<Digest, &'static str>,
    seen: Objects,
    needed_faults: u64,
    snapshot: Option<SnapshotId>,
    /// Whether what is missing is none of the business.
    lenient: bool,
    report: VerifyReport,
}

impl Visitor for Needs {
    fn is_first(&mut self, digest: &Digest, role: Role) -> bool {
        self.seen.insert_as(digest, role)
    }

    fn fault(&self, digest: &Digest) -> Option<&'static str> {
        if self.intact.contains(digest) {
            return None;
        }
        let fault = self.faults.get(digest).copied();
        Some(fault.unwrap_or("it is not stored"))
    }

    fn lost(&mut self, lost: Lost<'_>) -> Result<(), Error> {
        let is_stored = self.faults.contains_key(&lost.digest);
        self.needed_faults += u64::from(is_stored);
        if self.lenient && !is_stored {
            return Ok(());
        }
        self.report.damaged_total += 1;
        if self.report.damaged.len() < Error::MAX_MISSING {
            let path = Some(lost.path).filter(|path| !path.is_empty());
            self.report.damaged.push(Damage {
                digest: lost.digest,
                kind: lost.kind,
                reason: lost.reason.to_owned(),
                path: path.map(|path| String::from_utf8_lossy(path).into_owned()),
                snapshot: self.snapshot,
            });
        }
        Ok(())
    }
}

impl Repository {
    /// Reads and checks everything: packs against their names, every block and every object, and then whether all that
    /// `keep` names is there. Changes nothing. Memory follows the number of objects: some 40 bytes each, twice.
    ///
    /// # Errors
    ///
    /// Those of the store; damage is reported, not an error.
    pub async fn verify(&self, keep: Keep) -> Result<VerifyReport, Error> {
        let mut report = VerifyReport::default();
        let mut intact = Objects::default();
        for pack in self.all_packs().await? {
            report.packs += 1;
            if !self.verify_pack(&pack, &mut intact, &mut report).await? && self.has(&pack).await? {
                let listed = report.damaged_packs.len() < Error::MAX_MISSING;
                report.damaged_packs.extend(listed.then_some(pack.name));
            }
        }
        let mut faults = HashMap::new();
        let mut pages = self.pages();
        while let Some(page) = pages.next().await? {
            for object in &page {
                if intact.contains(&object.digest) {
                    continue;
                }
                match self.fault(&object.digest, &object.location).await? {
                    None => {
                        intact.insert(&object.digest);
                    }
                    Some(fault) => {
                        faults.insert(object.digest, fault);
                    }
                }
            }
            report.objects += page.len() as u64;
        }
        report.objects -= faults.len() as u64;
        let lenient = keep != Keep::Heads;
        let (snapshots, maps, tables) = match keep {
            Keep::Heads => {
                // What is no longer kept and not collected yet is still promised.
                let none = std::collections::HashSet::new();
                (self.not_kept(&none).await?, Vec::new(), Vec::new())
            }
            Keep::Roots {
                snapshots,
                maps,
                tables,
            } => (snapshots, maps, tables),
        };
        report.snapshots = snapshots.len() as u64;
        let damaged = faults.len() as u64;
        let mut needs = Needs {
            intact,
            faults,
            seen: Objects::default(),
            needed_faults: 0,
            snapshot: None,
            lenient,
            report,
        };
        let reader = self.nodes_as_stored();
        let follow = move || {
            for id in snapshots {
                needs.snapshot = Some(id);
                let mut walk = Walk {
                    reader: &reader,
                    visitor: &mut needs,
                };
                walk.snapshot(id)?;
            }
            needs.snapshot = None;
            let mut walk = Walk {
                reader: &reader,
                visitor: &mut needs,
            };
            maps.into_iter().try_for_each(|root| walk.files(root))?;
            tables.into_iter().try_for_each(|root| walk.tables(root))?;
            Ok(needs)
        };
        let needs = task::blocking(follow).await?;
        let mut report = needs.report;
        report.unneeded = damaged - needs.needed_faults;
        Ok(report)
    }

    /// The recorded objects that are damaged, whoever needs them.
    pub async fn damaged_objects(&self) -> Result<Vec<Digest>, Error> {
        let mut intact = Objects::default();
        let mut report = VerifyReport::default();
        for pack in self.all_packs().await? {
            self.verify_pack(&pack, &mut intact, &mut report).await?;
        }
        let mut damaged = Vec::new();
        let mut pages = self.pages();
        while let Some(page) = pages.next().await? {
            for object in page
                .iter()
                .filter(|object| !intact.contains(&object.digest))
            {
                let fault = self.fault(&object.digest, &object.location).await?;
                damaged.extend(fault.is_some().then_some(object.digest));
            }
        }
        Ok(damaged)
    }

    /// Whether a pack is still recorded: a collection may have moved its objects since it was listed.
    async fn has(&self, pack: &StoredPack) -> Result<bool, Error> {
        let found = self.catalogue.packs(self.tenant.id, pack.number, 1).await?;
        Ok(found.first() == Some(pack))
    }

    /// Reads a pack from its first byte to its last, and notes the objects that are intact and recorded there; says
    /// whether all of it is as its name promises.
    async fn verify_pack(
        &self,
        pack: &StoredPack,
        intact: &mut Objects,
        report: &mut VerifyReport,
    ) -> Result<bool, Error> {
        if self.pack_len(&pack.name).await? != Some(pack.len) {
            return Ok(false);
        }
        let mut decoder = PackDecoder::new()?;
        let (mut read, mut block_at) = (0, MAGIC.len() as u64);
        let mut ended = None;
        while read < pack.len {
            let end = pack.len.min(read + PIECE);
            let Some(piece) = self.blobs.get(&pack.name, read..end).await? else {
                return Ok(false);
            };
            report.bytes += end - read;
            read = end;
            decoder.push(&piece);
            loop {
                let (next, event) = task::blocking(move || {
                    let event = match decoder.next_event() {
                        Ok(Some(Event::Block(block))) => {
                            let digests: Vec<_> =
                                block.objects().map(|object| Digest::of(&object)).collect();
                            Ok(Some(Seen::Block(Box::new(block), digests)))
                        }
                        Ok(Some(Event::Patches(_))) => Err(PackError::Stored),
                        Ok(Some(Event::End { digest })) => Ok(Some(Seen::End(digest))),
                        Ok(None) => Ok(None),
                        Err(error) => Err(error),
                    };
                    Ok((decoder, event))
                })
                .await?;
                decoder = next;
                match event {
                    Err(_) => return Ok(false),
                    Ok(None) => break,
                    Ok(Some(Seen::End(digest))) => ended = Some(digest),
                    Ok(Some(Seen::Block(block, digests))) => {
                        self.take_note(pack, block_at, &block, &digests, intact)
                            .await?;
                        block_at += block.stored.len() as u64;
                    }
                }
            }
        }
        Ok(decoder.finish().is_ok() && ended == Some(pack.name))
    }

    async fn take_note(
        &self,
        pack: &StoredPack,
        block_at: u64,
        block: &DecodedBlock,
        digests: &[Digest],
        intact: &mut Objects,
    ) -> Result<(), Error> {
        let located = self.locate(digests).await?;
        for ((digest, span), location) in digests.iter().zip(&block.spans).zip(located) {
            let here = location.is_some_and(|location| {
                let place = location.place;
                location.pack == pack.name
                    && u64::from(place.block) == block_at
                    && place.block_len == narrow(block.stored.len())
                    && (place.start, place.len) == (span.start, span.len)
            });
            if here {
                intact.insert(digest);
            }
        }
        Ok(())
    }
}

/// What came next in a pack, with the names of its objects.
enum Seen {
    Block(Box<DecodedBlock>, Vec<Digest>),
    End(Digest),
}
