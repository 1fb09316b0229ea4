//! The contents of a parcel as blocks: read and compressed on several threads, sent in one order.
//!
//! [`Source`] cuts the chunks that are to go into blocks, so that the same change makes the same pack however many threads
//! there are. Each thread takes the next block, makes it, and waits for its turn to send it.
//! So there is at most one block a thread in memory, besides those that wait for the network.

use std::collections::{HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use sync_core::{Chunk, Digest};
use sync_files::{Tree, placed};
use sync_store::pack::{BlockBuilder, BuiltBlock, Class, MAX_COUNT, PackWriter, Patch, TARGET_RAW};
use tokio::sync::mpsc;

use super::{Held, Parcel, Piece, packed, pass_on};
use crate::Error;
use crate::event::{Event, Listener, Progress};
use crate::tree_map::flat_chunks;

/// More threads than this do not read faster.
const MAX_THREADS: usize = 8;
/// Fewer bytes than this are sent before a second thread has begun.
const FEW_BYTES: u64 = 1 << 20;

/// The chunks that are to go, in path order, each once.
pub(super) struct Source<'p> {
    parcel: &'p Parcel,
    held: &'p Held,
    sent: HashSet<Digest>,
    /// The change that is looked at next.
    at: usize,
    /// What is left of the change before it.
    rest: VecDeque<(u64, Chunk)>,
    /// How far it has come, with the bytes of all changes that were looked at.
    progress: Progress,
    /// The number of the next block.
    next: u64,
}

/// What goes into one block.
struct Batch {
    number: u64,
    /// Which change, where in its file, and what.
    parts: Vec<(usize, u64, Chunk)>,
    /// How far the parcel has come with it.
    progress: Progress,
}

impl<'p> Source<'p> {
    /// `held` limits what goes, and what is in `sent` never does; `progress` has the totals.
    pub(super) fn new(
        parcel: &'p Parcel,
        held: &'p Held,
        sent: HashSet<Digest>,
        progress: Progress,
    ) -> Self {
        Self {
            parcel,
            held,
            sent,
            at: 0,
            rest: VecDeque::new(),
            progress,
            next: 0,
        }
    }

    fn threads(&self) -> usize {
        let changes = self.parcel.changes.iter();
        let bytes: u64 = changes.map(|change| change.size).sum();
        if bytes < FEW_BYTES {
            return 1;
        }
        thread::available_parallelism()
            .map_or(1, NonZeroUsize::get)
            .min(MAX_THREADS)
    }

    /// The next block; `None` after the last.
    fn next(&mut self) -> Result<Option<Batch>, Error> {
        let mut parts: Vec<(usize, u64, Chunk)> = Vec::new();
        let mut bytes = 0;
        while self.fill()? {
            while let Some((offset, chunk)) = self.rest.front().copied() {
                let full =
                    bytes + chunk.len > TARGET_RAW as u64 || parts.len() >= MAX_COUNT as usize;
                if full && !parts.is_empty() {
                    return Ok(Some(self.batch(parts)));
                }
                bytes += chunk.len;
                parts.push((self.at - 1, offset, chunk));
                self.rest.pop_front();
            }
        }
        Ok((!parts.is_empty()).then(|| self.batch(parts)))
    }

    /// Looks at changes until one has something that is to go; `false` after the last.
    fn fill(&mut self) -> Result<bool, Error> {
        while self.rest.is_empty() {
            let Some(change) = self.parcel.changes.get(self.at) else {
                return Ok(false);
            };
            self.at += 1;
            // Links and empty files have no contents to send, and neither has what is gone.
            let Some(entry) = &change.after else { continue };
            self.progress.bytes += entry.size();
            let (lacking, sent) = (self.held.lacking.as_ref(), &mut self.sent);
            let goes = |(_, chunk): &(u64, Chunk)| {
                lacking.is_none_or(|lacking| lacking.contains(&chunk.digest))
                    && sent.insert(chunk.digest)
            };
            let chunks = flat_chunks(&self.parcel.maps, entry)?;
            self.rest.extend(placed(&chunks).filter(goes));
        }
        Ok(true)
    }

    fn batch(&mut self, parts: Vec<(usize, u64, Chunk)>) -> Batch {
        let number = self.next;
        self.next += 1;
        Batch {
            number,
            parts,
            progress: Progress {
                items: self.at as u64,
                ..self.progress
            },
        }
    }
}

/// Sends everything that `source` has; `false` where nobody takes it any more.
pub(super) fn send(
    source: Source<'_>,
    tree: &Tree,
    writer: &mut PackWriter,
    sender: &mpsc::Sender<Piece>,
    listener: &Listener,
) -> Result<bool, Error> {
    let (parcel, held, threads) = (source.parcel, source.held, source.threads());
    let line = Line {
        parcel,
        held,
        tree,
        source: Mutex::new(source),
        exit: Mutex::new(Exit {
            writer,
            next: 0,
            outcome: Ok(true),
        }),
        turn: Condvar::new(),
        sender,
        listener,
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| line.work());
        }
        line.work();
    });
    let exit = line.exit.into_inner();
    exit.unwrap_or_else(PoisonError::into_inner).outcome
}

/// What the threads share.
struct Line<'p, 's> {
    parcel: &'p Parcel,
    held: &'p Held,
    tree: &'s Tree,
    source: Mutex<Source<'p>>,
    exit: Mutex<Exit<'s>>,
    /// Told whenever a block went out, or none will any more.
    turn: Condvar,
    sender: &'s mpsc::Sender<Piece>,
    listener: &'s Listener,
}

/// Where blocks leave in order.
struct Exit<'s> {
    writer: &'s mut PackWriter,
    /// The number of the block whose turn it is.
    next: u64,
    /// `Ok(true)` as long as blocks go out.
    outcome: Result<bool, Error>,
}

impl<'s> Line<'_, 's> {
    fn work(&self) {
        if let Err(error) = self.make_and_send() {
            let mut exit = self.exit();
            if matches!(exit.outcome, Ok(true)) {
                exit.outcome = Err(error);
            }
            self.turn.notify_all();
        }
    }

    fn make_and_send(&self) -> Result<(), Error> {
        let mut contents = self.tree.contents()?;
        let mut builder = BlockBuilder::new(Class::Contents).map_err(packed)?;
        let mut patches = BlockBuilder::patches(Class::Contents).map_err(packed)?;
        loop {
            let next = lock(&self.source).next()?;
            let Some(batch) = next else { return Ok(()) };
            let mut blocks = Vec::with_capacity(1);
            for part in batch.parts.chunk_by(|a, b| a.0 == b.0) {
                let change = &self.parcel.changes[part[0].0];
                let base = self.held.base(change);
                let chunks = part.iter().map(|(_, offset, chunk)| (*offset, *chunk));
                contents.read(&change.path, chunks, |_, bytes| {
                    let patch = base.and_then(|(base, signature)| {
                        Patch::from_signature(base, signature, bytes)
                    });
                    let full = match patch {
                        Some(patch) => patches.add_patch(&patch),
                        None => builder.add(bytes),
                    };
                    blocks.extend(full.map_err(packed)?);
                    Ok::<(), Error>(())
                })?;
            }
            for builder in [&mut builder, &mut patches] {
                blocks.extend(builder.finish().map_err(packed)?);
            }
            if !self.pass(&batch, blocks) {
                return Ok(());
            }
        }
    }

    /// Waits for the turn of a batch and sends its blocks; `false` where nothing goes out any more.
    fn pass(&self, batch: &Batch, blocks: Vec<BuiltBlock>) -> bool {
        let mut exit = self.exit();
        while exit.next != batch.number && matches!(exit.outcome, Ok(true)) {
            exit = self.turn.wait(exit).unwrap_or_else(PoisonError::into_inner);
        }
        if !matches!(exit.outcome, Ok(true)) {
            return false;
        }
        for block in blocks {
            let objects = u32::try_from(block.spans.len()).unwrap_or(u32::MAX);
            exit.writer.add_stored(block.stored, objects);
        }
        let taken = pass_on(exit.writer.take(), self.sender);
        if taken {
            (self.listener)(Event::Progress(batch.progress));
        }
        exit.outcome = Ok(taken);
        exit.next += 1;
        self.turn.notify_all();
        taken
    }

    fn exit(&self) -> MutexGuard<'_, Exit<'s>> {
        lock(&self.exit)
    }
}

/// What a thread that panicked left is whole: the panic goes on when the threads have ended.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
