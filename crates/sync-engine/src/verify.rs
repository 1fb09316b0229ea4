//! Whether everything is intact, here and on the tenant, and repair of each side from the other.

use std::collections::HashSet;

use bytes::Bytes;
use serde::Serialize;
use snafu::ResultExt;
use sync_core::map::{self, MapError};
use sync_core::{Digest, Entry, TreePath};
use sync_files::Tree;
use sync_store::pack::{Class, PackError, PackWriter};
use sync_store::protocol::{Damage, DamageKind, MAX_DIGESTS, VerifyReport};

use crate::Error;
use crate::error::{HostileSnafu, MapSnafu, StoreSnafu};
use crate::maps::Maps;
use crate::session::{Local, Session, blocking};
use crate::tree_map::{changes, decode_entry, decode_path, empty_root, flat_chunks};

/// So many bytes of good copies go at once.
const BATCH: usize = 16 << 20;
/// A repaired node shows what was hidden below it: so often is looked again.
const ROUNDS: usize = 32;

/// What was found of the workspace's own store.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct PrivateFindings {
    /// Objects that are intact.
    pub objects: u64,
    /// Objects that were damaged.
    pub damaged: u64,
    /// Of these, those that the tenant had.
    pub repaired: u64,
    /// The others, which nobody needs or which are made again when they are needed.
    pub forgotten: u64,
}

/// What a look at every object found, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Files that were changed and whose size and times are those of before: no capture had noticed.
    pub unnoticed: Vec<TreePath>,
    /// The workspace's own store.
    pub private: PrivateFindings,
    /// The tenant's store, as it is after the repair.
    pub tenant: VerifyReport,
    /// What was damaged or missing there before.
    pub found: Vec<Damage>,
    /// How many objects were sent to replace those.
    pub repaired: u64,
}

impl Verification {
    /// Whether no damage remains.
    pub fn is_sound(&self) -> bool {
        self.tenant.is_sound()
    }

    /// Whether there was damage anywhere.
    pub fn found_damage(&self) -> bool {
        self.private.damaged > 0 || !self.found.is_empty()
    }
}

impl Session {
    /// Reads and checks every file of the tree, every object of the private store and every object of the tenant.
    /// What is damaged here is fetched again, what is damaged or missing there is sent again, where the other side has it.
    ///
    /// # Errors
    ///
    /// Damage that remains is reported, not an error.
    pub async fn verify(&self) -> Result<Verification, Error> {
        let _lock = self.lock()?;
        let private = self.verify_private().await?;
        let local = self.capture().await?;
        let anew = self.capture_anew(self.maps().await?).await?;
        let unnoticed = self.unnoticed(&local, &anew).await?;
        self.remember(&anew).await?;
        let mut tenant = self.remote.verify().await?;
        let found = tenant.damaged.clone();
        let mut repaired = 0;
        for _ in 0..ROUNDS {
            if tenant.is_sound() {
                break;
            }
            let sent = self.send_good_copies(&tenant.damaged, &anew).await?;
            if sent == 0 {
                break;
            }
            repaired += sent;
            tenant = self.remote.verify().await?;
        }
        Ok(Verification {
            unnoticed,
            private,
            tenant,
            found,
            repaired,
        })
    }

    async fn verify_private(&self) -> Result<PrivateFindings, Error> {
        let private = self.private().await?;
        let damaged = private.damaged_objects().await.context(StoreSnafu)?;
        let mut findings = PrivateFindings {
            damaged: damaged.len() as u64,
            ..PrivateFindings::default()
        };
        for page in damaged.chunks(MAX_DIGESTS) {
            let missing = self.remote.missing(page).await?;
            let there = page.iter().zip(missing).filter(|(_, missing)| !missing);
            let there: Vec<Digest> = there.map(|(digest, _)| *digest).collect();
            if !there.is_empty() {
                findings.repaired += self.fetch_good_copies(&there).await?;
            }
        }
        let left = private.damaged_objects().await.context(StoreSnafu)?;
        findings.forgotten = left.len() as u64;
        private.forget(&left).await.context(StoreSnafu)?;
        self.complete_base().await?;
        let report = private.verify(self.private_keep().await?).await;
        findings.objects = report.context(StoreSnafu)?.objects;
        Ok(findings)
    }

    async fn fetch_good_copies(&self, wanted: &[Digest]) -> Result<u64, Error> {
        let private = self.private().await?;
        let asked: HashSet<&Digest> = wanted.iter().collect();
        let mut objects = self.remote.objects(wanted).await?;
        let (mut batch, mut bytes, mut repaired) = (Vec::new(), 0, 0);
        while let Some(block) = objects.next_block().await? {
            for object in block.objects() {
                if asked.contains(&Digest::of(&object)) {
                    bytes += object.len();
                    batch.push((block.header.class, object));
                }
            }
            if bytes >= BATCH {
                bytes = 0;
                let good = private.repair_objects(std::mem::take(&mut batch));
                repaired += good.await.context(StoreSnafu)?;
            }
        }
        let good = private.repair_objects(batch).await;
        Ok(repaired + good.context(StoreSnafu)?)
    }

    /// Fetches the base's map again where a node of it is missing here.
    async fn complete_base(&self) -> Result<(), Error> {
        let agreed = self.agreed()?;
        let Some(base) = agreed.base.filter(|base| base.files != empty_root()) else {
            return Ok(());
        };
        let maps = self.maps().await?;
        let whole = {
            let maps = maps.clone();
            blocking(move || Ok(map::verify(&maps, base.files))).await?
        };
        match whole {
            Ok(_) => Ok(()),
            Err(MapError::Missing { .. }) => {
                let fetched = Maps::new();
                match self.fetch_maps(&fetched, base.id, None).await {
                    Ok(()) => self.keep(&fetched).await,
                    Err(error) if error.is_expired() => Ok(()),
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error).context(MapSnafu),
        }
    }

    async fn unnoticed(&self, local: &Local, anew: &Local) -> Result<Vec<TreePath>, Error> {
        if local.root == anew.root {
            return Ok(Vec::new());
        }
        self.attach(&local.maps).await?;
        // The newer map's nodes are new in memory; those of the older one are stored.
        let (maps, from, to) = (anew.maps.clone(), local.root, anew.root);
        let found = blocking(move || changes(&maps, from, to)).await?;
        Ok(found.into_iter().map(|change| change.path).collect())
    }

    /// Sends what this workspace has of `damaged`; gives how much of it the tenant took.
    async fn send_good_copies(&self, damaged: &[Damage], local: &Local) -> Result<u64, Error> {
        let chunk = |damage: &&Damage| damage.kind == DamageKind::Chunk;
        let (chunks, others): (Vec<_>, Vec<_>) = damaged.iter().partition(chunk);
        let names = |of: Vec<&Damage>| of.iter().map(|damage| damage.digest).collect();
        let (chunks, others): (HashSet<Digest>, Vec<Digest>) =
            (names(chunks), names(others).into_iter().collect());
        let tree = (self.workspace.tree(), self.workspace.private());
        let (maps, root) = (local.maps.clone(), local.root);
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let gatherer = tokio::task::spawn_blocking(move || {
            gather(&maps, root, &tree, &others, chunks, |pack| {
                // Where this fails the sender has given up, and says why.
                let _ = sender.blocking_send(pack);
            })
        });
        let mut repaired = 0;
        while let Some(pack) = receiver.recv().await {
            repaired += self.remote.repair(pack).await?.objects;
        }
        gatherer.await.context(crate::error::TaskSnafu)??;
        Ok(repaired)
    }
}

/// Packs of what is here of `others` and `chunks`, a bounded one at a time.
fn gather(
    maps: &Maps,
    root: Digest,
    (tree, private): &(std::path::PathBuf, std::path::PathBuf),
    others: &[Digest],
    chunks: HashSet<Digest>,
    mut send: impl FnMut(Vec<u8>),
) -> Result<(), Error> {
    let mut copies = Copies::default();
    for digest in others {
        // What is damaged here, too, is no good copy.
        if let Some(bytes) = maps.object(digest).ok().flatten() {
            copies.add(Class::Nodes, bytes, &mut send)?;
        }
    }
    let mut elsewhere = HashSet::new();
    for digest in chunks {
        // Large values of rows are in the private store, contents of files in the tree.
        match maps.object(&digest).ok().flatten() {
            Some(bytes) => copies.add(Class::Contents, bytes, &mut send)?,
            None => drop(elsewhere.insert(digest)),
        }
    }
    let holders = holders(maps, root, elsewhere)?;
    let tree = Tree::open(tree, private)?;
    let mut contents = tree.contents()?;
    for (path, entry, wanted) in holders {
        let all = flat_chunks(maps, &entry)?;
        let wanted = sync_files::placed(&all).filter(|(_, chunk)| wanted.contains(&chunk.digest));
        let read = contents.read(&path, wanted, |digest, bytes| {
            if copies.taken.insert(digest) {
                copies.add(Class::Contents, Bytes::copy_from_slice(bytes), &mut send)?;
            }
            Ok::<_, Error>(())
        });
        match read {
            // It changed since it was captured: another run finds what it holds now.
            Err(Error::Files {
                source: sync_files::Error::Moved { .. },
            })
            | Ok(()) => {}
            Err(error) => return Err(error),
        }
    }
    copies.finish(&mut send)
}

/// Good copies that wait to be sent.
#[derive(Debug, Default)]
struct Copies {
    waiting: Vec<(Class, Bytes)>,
    bytes: usize,
    taken: HashSet<Digest>,
}

impl Copies {
    fn add(
        &mut self,
        class: Class,
        bytes: Bytes,
        send: &mut impl FnMut(Vec<u8>),
    ) -> Result<(), Error> {
        self.bytes += bytes.len();
        self.waiting.push((class, bytes));
        if self.bytes < BATCH {
            return Ok(());
        }
        self.finish(send)
    }

    fn finish(&mut self, send: &mut impl FnMut(Vec<u8>)) -> Result<(), Error> {
        self.bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        if !waiting.is_empty() {
            send(packed(&waiting).map_err(|error| {
                HostileSnafu {
                    reason: error.to_string(),
                }
                .build()
            })?);
        }
        Ok(())
    }
}

fn packed(objects: &[(Class, Bytes)]) -> Result<Vec<u8>, PackError> {
    let mut writer = PackWriter::new()?;
    for (class, bytes) in objects {
        writer.add(*class, bytes)?;
    }
    Ok(writer.finish()?.concat())
}

/// A file and which chunks are wanted of it.
type Holder = (TreePath, Entry, HashSet<Digest>);

/// Which files of the tree hold which of `wanted`, each chunk once.
fn holders(maps: &Maps, root: Digest, mut wanted: HashSet<Digest>) -> Result<Vec<Holder>, Error> {
    let mut found = Vec::new();
    let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    for item in map::range(maps, root, all) {
        if wanted.is_empty() {
            break;
        }
        let (key, value) = item.context(MapSnafu)?;
        let path = decode_path(&key)?;
        let entry = decode_entry(&path, &value)?;
        let chunks = flat_chunks(maps, &entry)?;
        let held: HashSet<Digest> = chunks
            .iter()
            .map(|chunk| chunk.digest)
            .filter(|digest| wanted.remove(digest))
            .collect();
        if !held.is_empty() {
            found.push((path, entry, held));
        }
    }
    Ok(found)
}
