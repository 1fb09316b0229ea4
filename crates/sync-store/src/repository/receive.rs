//! Objects come in: from a stream of a pack, or from this process itself.

mod patched;

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use sync_core::{Digest, Snapshot, SnapshotId};
use tokio::runtime::Handle;
use tokio::sync::{OwnedRwLockReadGuard, mpsc};
use tokio::task::JoinHandle;

use super::assembly::{Assembly, Pending};
use super::{Repository, RepositoryNodes};
use crate::catalogue::{Committed, HeadChange, Location, PackRecord};
use crate::error::{BoxError, Error};
use crate::pack::{BlockBuilder, Class, DecodedBlock, Event, PackDecoder, PackError, Span};
use crate::protocol::prefix;
use crate::task;

/// How many pieces of a stream wait for the thread that takes them apart.
const QUEUE: usize = 8;

/// Objects that were received: everything but the last pack is stored and recorded, that one waits for
/// [`Repository::advance`], [`Repository::adopt`] or [`Repository::record`]. Dropped, its objects are forgotten.
#[derive(Debug, Clone, Default)]
#[must_use = "the last pack is not stored yet"]
pub struct Received {
    /// How many objects came, those included that were there before.
    pub objects: u64,
    /// How many bytes of pack came.
    pub bytes: u64,
    /// How many objects of the packs that are recorded were not there before; [`Repository::record`] adds those of the last.
    pub(crate) added: u64,
    pub(crate) pending: Option<Arc<Pending>>,
    /// How often a collection had removed something when this was begun: what is remembered below holds until it has again.
    pub(crate) generation: Option<u64>,
    /// Where the objects of the packs before are, up to [`MAX_REMEMBERED`]: whoever checks what was received looks for
    /// these first, and need not ask the catalogue.
    pub(crate) rolled: Vec<Arc<PackRecord>>,
}

/// How many objects of packs that are recorded are remembered: 52 MiB of places.
const MAX_REMEMBERED: usize = 1 << 20;

impl Received {
    /// Nothing at all, for moving a head to what is stored already.
    pub fn nothing() -> Self {
        Self::default()
    }
}

enum Message {
    Piece(Bytes),
    /// The stream came to its end by itself; without this the receiver went away.
    Done,
}

impl Repository {
    /// Takes in a pack as it arrives: checks it, digests every object, and stores what is new.
    ///
    /// The work is done on a blocking thread that the stream is fed to; a bounded number of pieces is in between,
    /// so a fast sender is held back. Memory is bounded by two stored packs of 8 MiB, one that fills and one that is
    /// written, and their index.
    ///
    /// # Errors
    ///
    /// [`Error::Cut`] where the stream fails or ends early, or this future is dropped: the complete blocks are stored and
    /// recorded all the same. [`Error::Pack`] where it is not a pack: full stored packs before are kept, the rest is not.
    /// [`Error::Blobs`], [`Error::Catalogue`] where it cannot be stored.
    pub async fn receive<E: Into<BoxError>>(
        &self,
        stream: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<Received, Error> {
        let (sender, pieces) = mpsc::channel(QUEUE);
        let (repository, runtime) = (self.clone(), Handle::current());
        let work = move || Receiving::new(repository, runtime)?.run(pieces);
        let worker = tokio::task::spawn_blocking(work);
        let broken = feed(stream, sender).await;
        let outcome = worker.await?;
        match (outcome, broken) {
            (Ok(_) | Err(Error::Cut { .. }), Some(source)) => Err(Error::Cut { source }),
            (outcome, _) => outcome,
        }
    }

    /// Makes a pack of objects of this process: those that are not stored yet, each once.
    /// Nothing is stored until the outcome is recorded; a pack that grows beyond 8 MiB is stored and recorded on the way.
    pub async fn prepare<I>(&self, objects: I) -> Result<Received, Error>
    where
        I: IntoIterator<Item = (Class, Vec<u8>)> + Send + 'static,
    {
        let named = |(class, object): (Class, Vec<u8>)| (class, Digest::of(&object), object);
        // Named one by one while they are taken: an iterator may wait for what makes them.
        self.prepare_named(move || objects.into_iter().map(named))
            .await
    }

    /// The same of objects that come with their digests, on the thread that takes them.
    pub(super) async fn prepare_named<I>(
        &self,
        objects: impl FnOnce() -> I + Send + 'static,
    ) -> Result<Received, Error>
    where
        I: IntoIterator<Item = Named>,
    {
        let (repository, runtime) = (self.clone(), Handle::current());
        task::blocking(move || {
            let mut receiving = Receiving::new(repository, runtime)?;
            receiving.take_own(objects())?;
            receiving.finish()
        })
        .await
    }

    /// Stores objects of this process: one pack, durable when this returns.
    pub async fn put<I>(&self, objects: I) -> Result<Received, Error>
    where
        I: IntoIterator<Item = (Class, Vec<u8>)> + Send + 'static,
    {
        let mut prepared = self.prepare(objects).await?;
        self.record(&prepared).await?;
        prepared.pending = None;
        Ok(prepared)
    }

    /// A snapshot that was received, or is stored; `None` where it is neither, or is none. Nothing that it names was looked for.
    pub async fn received_snapshot(
        &self,
        received: &Received,
        id: SnapshotId,
    ) -> Result<Option<Snapshot>, Error> {
        let reader = RepositoryNodes::new(self.clone(), received);
        let bytes = task::blocking(move || reader.object(&id.0)).await?;
        Ok(bytes.and_then(|bytes| Snapshot::decode(&bytes).ok()))
    }

    /// Stores and records the last pack of what was received, and moves no head. Says how many of all objects that were
    /// received were not there before.
    pub async fn record(&self, received: &Received) -> Result<u64, Error> {
        let committed = self.store(received, &[]).await?;
        Ok(received.added + committed.added)
    }

    /// Where objects are that are not stored again because they are there: they survive another grace time.
    async fn locate_to_keep(&self, digests: &[Digest]) -> Result<Vec<Option<Location>>, Error> {
        let prefixes: Vec<_> = digests.iter().map(prefix).collect();
        self.catalogue.spare(self.tenant.id, &prefixes).await?;
        self.locate(digests).await
    }

    /// The pack first, then the one transaction that names it.
    pub(super) async fn store(
        &self,
        received: &Received,
        heads: &[HeadChange],
    ) -> Result<Committed, Error> {
        let _storing = self.storing.read().await;
        let records = match &received.pending {
            None if heads.is_empty() => return Ok(Committed::default()),
            None => Vec::new(),
            Some(pending) => {
                self.blobs.put(&pending.record.name, &pending.parts).await?;
                vec![PackRecord::clone(&pending.record)]
            }
        };
        self.catalogue.commit(self.tenant.id, &records, heads).await
    }
}

/// Hands the stream to the worker; gives the error that the stream ended with.
async fn feed<E: Into<BoxError>>(
    stream: impl Stream<Item = Result<Bytes, E>>,
    sender: mpsc::Sender<Message>,
) -> Option<BoxError> {
    let mut stream = pin!(stream);
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => {
                if sender.send(Message::Piece(piece)).await.is_err() {
                    // The worker found something wrong, and says what.
                    return None;
                }
            }
            Err(error) => return Some(error.into()),
        }
    }
    // Where this fails the worker has ended already.
    let _ = sender.send(Message::Done).await;
    None
}

/// The work of receiving, on a blocking thread.
struct Receiving {
    repository: Repository,
    runtime: Handle,
    assembly: Assembly,
    /// Objects that do not stand in a block yet: those of this process, and those that patches made.
    open: [Own; 2],
    /// The pack that was closed last, on its way to the disk while the next one fills.
    storing: Option<JoinHandle<Result<Stored, Error>>>,
    /// The pack before it, on its way into the catalogue meanwhile.
    recording: Option<JoinHandle<Result<u64, Error>>>,
    /// Whether nothing is stored yet, so that nothing need be looked up.
    vacant: bool,
    received: Received,
}

impl Receiving {
    fn new(repository: Repository, runtime: Handle) -> Result<Self, Error> {
        let vacant = task::block_on(&runtime, repository.is_vacant())?;
        let marks = repository.catalogue.marks(repository.tenant.id);
        let generation = task::block_on(&runtime, marks)?.generation;
        Ok(Self {
            repository,
            runtime,
            assembly: Assembly::new(),
            open: [Own::new(Class::Nodes)?, Own::new(Class::Contents)?],
            storing: None,
            recording: None,
            vacant,
            received: Received {
                generation: Some(generation),
                ..Received::default()
            },
        })
    }

    fn run(mut self, pieces: mpsc::Receiver<Message>) -> Result<Received, Error> {
        let end = match self.take_stream(pieces) {
            Ok(end) => end,
            Err(error) => {
                // What is on its way to the disk arrives before the caller hears of anything.
                return self.settle().and(Err(error));
            }
        };
        match end {
            None => self.finish(),
            Some(source) => self.cut(source),
        }
    }

    /// Takes the stream apart; gives what was wrong with its end.
    fn take_stream(
        &mut self,
        mut pieces: mpsc::Receiver<Message>,
    ) -> Result<Option<BoxError>, Error> {
        let mut decoder = PackDecoder::new()?;
        loop {
            match pieces.blocking_recv() {
                Some(Message::Piece(piece)) => {
                    self.received.bytes += piece.len() as u64;
                    decoder.push(&piece);
                    while let Some(event) = decoder.next_event()? {
                        match event {
                            Event::Block(block) => self.take_block(&block)?,
                            Event::Patches(patches) => self.take_patches(&patches)?,
                            Event::End { .. } => {}
                        }
                    }
                }
                Some(Message::Done) => return Ok(decoder.finish().err().map(Into::into)),
                None => return Ok(Some("the receiver went away".into())),
            }
        }
    }

    /// Keeps what is complete. Only a stream that is merely too short leads here.
    fn cut(self, source: BoxError) -> Result<Received, Error> {
        let (repository, runtime) = (self.repository.clone(), self.runtime.clone());
        let received = self.finish()?;
        task::block_on(&runtime, repository.record(&received))?;
        Err(Error::Cut { source })
    }

    fn take_block(&mut self, block: &DecodedBlock) -> Result<(), Error> {
        let digests = block.objects().map(|object| Digest::of(&object));
        let spans = block.spans.iter().copied();
        let objects: Vec<_> = digests.zip(spans).collect();
        self.received.objects += objects.len() as u64;
        if !self.all_known(&objects)? {
            self.append(block.stored.clone(), &objects)?;
        }
        Ok(())
    }

    fn append(&mut self, stored: Bytes, objects: &[(Digest, Span)]) -> Result<(), Error> {
        self.assembly.push(stored, objects);
        if self.assembly.len() >= self.repository.roll_bytes {
            self.roll()?;
        }
        Ok(())
    }

    fn all_known(&self, objects: &[(Digest, Span)]) -> Result<bool, Error> {
        let fresh = objects.iter().map(|(digest, _)| *digest);
        let fresh: Vec<_> = fresh.filter(|d| !self.assembly.contains(d)).collect();
        if fresh.is_empty() || self.vacant {
            return Ok(fresh.is_empty());
        }
        // Most blocks are all new or all known: the first object mostly decides.
        if !self.is_stored(&fresh[..1])? {
            return Ok(false);
        }
        self.is_stored(&fresh)
    }

    fn is_stored(&self, digests: &[Digest]) -> Result<bool, Error> {
        let found = task::block_on(&self.runtime, self.repository.locate_to_keep(digests))?;
        Ok(found.iter().all(Option::is_some))
    }

    /// Closes the stored pack and starts the next one, while this one goes to the disk.
    fn roll(&mut self) -> Result<(), Error> {
        self.stored()?;
        let full = std::mem::replace(&mut self.assembly, Assembly::new());
        let Some(pending) = full.finish() else {
            return Ok(());
        };
        let rolled = &mut self.received.rolled;
        let held: usize = rolled.iter().map(|record| record.objects.len()).sum();
        if held < MAX_REMEMBERED {
            rolled.push(Arc::clone(&pending.record));
        }
        let put = Stored::put(self.repository.clone(), pending);
        self.storing = Some(self.runtime.spawn(put));
        self.vacant = false;
        Ok(())
    }

    /// Waits until the pack that was closed last is on disk, and has it recorded while the next one goes there.
    fn stored(&mut self) -> Result<(), Error> {
        let Some(storing) = self.storing.take() else {
            return Ok(());
        };
        let stored = task::block_on(&self.runtime, storing);
        self.recorded()?;
        let record = stored??.record(self.repository.clone());
        self.recording = Some(self.runtime.spawn(record));
        Ok(())
    }

    /// Waits until the pack before that is in the catalogue.
    fn recorded(&mut self) -> Result<(), Error> {
        if let Some(recording) = self.recording.take() {
            self.received.added += task::block_on(&self.runtime, recording)??;
        }
        Ok(())
    }

    /// Waits until every pack that was closed is stored and recorded.
    fn settle(&mut self) -> Result<(), Error> {
        self.stored()?;
        self.recorded()
    }

    fn finish(mut self) -> Result<Received, Error> {
        for class in 0..self.open.len() {
            if let Some(block) = self.open[class].builder.finish()? {
                let objects = self.open[class].objects(&block.spans);
                self.append(block.stored, &objects)?;
            }
        }
        self.settle()?;
        self.received.pending = self.assembly.finish().map(Arc::new);
        Ok(self.received)
    }

    fn take_own(&mut self, objects: impl IntoIterator<Item = Named>) -> Result<(), Error> {
        let (mut batch, mut held) = (Vec::new(), 0);
        let mut objects = objects.into_iter().peekable();
        while let Some((class, digest, object)) = objects.next() {
            held += object.len();
            batch.push((class, digest, object));
            let full = batch.len() == OWN_BATCH || held >= OWN_BATCH_BYTES;
            if full || objects.peek().is_none() {
                let (count, bytes) = self.take_batch(&mut batch)?;
                self.received.objects += count;
                self.received.bytes += bytes;
                held = 0;
            }
        }
        Ok(())
    }

    /// Takes the objects that are not stored yet; gives how many these were, and their bytes.
    fn take_batch(&mut self, batch: &mut Vec<Named>) -> Result<(u64, u64), Error> {
        let digests: Vec<_> = batch.iter().map(|(_, digest, _)| *digest).collect();
        let stored = if self.vacant {
            vec![None; digests.len()]
        } else {
            let located = self.repository.locate_to_keep(&digests);
            task::block_on(&self.runtime, located)?
        };
        let (mut count, mut bytes) = (0, 0);
        for ((class, digest, object), stored) in batch.drain(..).zip(stored) {
            let waits = self.open.iter().any(|own| own.waiting.contains(&digest));
            if stored.is_some() || waits || self.assembly.contains(&digest) {
                continue;
            }
            count += 1;
            bytes += object.len() as u64;
            let class = usize::from(class == Class::Contents);
            if let Some(block) = self.open[class].builder.add(&object)? {
                let objects = self.open[class].objects(&block.spans);
                self.append(block.stored, &objects)?;
            }
            self.open[class].order.push(digest);
            self.open[class].waiting.insert(digest);
        }
        Ok((count, bytes))
    }
}

/// A pack that is on disk and that the catalogue does not know yet. Nobody deletes it for that: the lock is held.
struct Stored {
    pack: Arc<PackRecord>,
    storing: OwnedRwLockReadGuard<()>,
}

impl Stored {
    async fn put(repository: Repository, pending: Pending) -> Result<Self, Error> {
        let storing = Arc::clone(&repository.storing).read_owned().await;
        let pack = pending.record;
        repository.blobs.put(&pack.name, &pending.parts).await?;
        Ok(Self { pack, storing })
    }

    async fn record(self, repository: Repository) -> Result<u64, Error> {
        let records = [PackRecord::clone(&self.pack)];
        let recorded = repository
            .catalogue
            .commit(repository.tenant.id, &records, &[]);
        let committed = recorded.await?;
        drop(self.storing);
        Ok(committed.added)
    }
}

/// An object of this process with its digest.
pub(super) type Named = (Class, Digest, Vec<u8>);

/// How many objects of this process are looked up at once.
const OWN_BATCH: usize = 256;
/// How many bytes of them are held for that.
const OWN_BATCH_BYTES: usize = 4 << 20;

/// A block in the making, with the digests of its objects.
pub(super) struct Own {
    pub(super) builder: BlockBuilder,
    pub(super) order: Vec<Digest>,
    waiting: std::collections::HashSet<Digest>,
}

impl Own {
    pub(super) fn new(class: Class) -> Result<Self, PackError> {
        Ok(Self {
            builder: BlockBuilder::new(class)?,
            order: Vec::new(),
            waiting: std::collections::HashSet::new(),
        })
    }

    /// The digests of a finished block with their spans; what waits afterwards is nothing.
    pub(super) fn objects(&mut self, spans: &[Span]) -> Vec<(Digest, Span)> {
        self.waiting.clear();
        self.order.drain(..).zip(spans.iter().copied()).collect()
    }
}
