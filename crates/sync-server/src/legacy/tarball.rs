//! A tar.gz taken apart as it comes, with everything refused that a legacy client does not send.
//!
//! Two readers of one tar can disagree where an archive is ambiguous, and that is how entries are smuggled. So nothing
//! here is lenient: one gzip member with nothing behind it, headers with a right checksum, GNU long names and no PAX
//! records (which could give a size or a path for the second time), two blocks of zeros at the end and only zeros after.

use std::io::{self, BufRead, Read};

use bytes::{Buf, Bytes};
use flate2::bufread::GzDecoder;
use tar::{EntryType, Header};
use tokio::sync::mpsc;

use super::refusal::Refusal;
use crate::Error;

/// The bytes of a tar's header, and what everything in it is padded to.
pub(super) const BLOCK: usize = 512;

/// The longest name that is read: a path of a tree, `./` before it and a zero after it.
const MAX_NAME: u64 = sync_core::TreePath::MAX_LEN as u64 + 3;

/// How much may come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The most bytes as sent: 4 GiB.
    pub(super) compressed: u64,
    /// The most bytes inflated: 64 GiB.
    pub(super) inflated: u64,
    /// How many times the bytes that came may be inflated to: 200, where text is inflated to ten times.
    pub(super) ratio: u64,
    /// What may be inflated to whatever the ratio: 1 GiB. An asset of zeros is no attack.
    pub(super) free: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            compressed: 4 << 30,
            inflated: 64 << 30,
            ratio: 200,
            free: 1 << 30,
        }
    }
}

/// The pieces of a body, for a blocking thread.
#[derive(Debug)]
pub(super) struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
    taken: u64,
}

impl Pieces {
    pub(super) fn new(receiver: mpsc::Receiver<Bytes>) -> Self {
        Self {
            receiver,
            current: Bytes::new(),
            taken: 0,
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.current = piece,
                None => break,
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, count: usize) {
        self.current.advance(count);
        self.taken += count as u64;
    }
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file, whose bytes follow.
    File { size: u64, executable: bool },
    /// A directory, which other paths imply.
    Directory,
}

/// An entry: its path as it stands there, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
}

/// A tar.gz that is being read.
pub(super) struct Tarball {
    gzip: GzDecoder<Pieces>,
    limits: Limits,
    inflated: u64,
    /// How many bytes of the current file are still to be read.
    left: u64,
    /// How many bytes follow these, up to the next header.
    padding: u64,
}

impl Tarball {
    pub(super) fn new(pieces: Pieces, limits: Limits) -> Self {
        Self {
            gzip: GzDecoder::new(pieces),
            limits,
            inflated: 0,
            left: 0,
            padding: 0,
        }
    }

    /// The next entry; what is left of the one before is skipped. `None` after everything was found to be in order.
    pub(super) fn next(&mut self) -> Result<Option<Member>, Error> {
        self.skip()?;
        let mut long_name: Option<Vec<u8>> = None;
        loop {
            let mut block = [0; BLOCK];
            self.read_exact(&mut block)?;
            if block == [0; BLOCK] {
                return match long_name {
                    None => self.end().map(|()| None),
                    Some(name) => Err(Refusal::NotTar.at(&name)),
                };
            }
            let header = Header::from_byte_slice(&block);
            let size = size(header)?;
            if header.entry_type() == EntryType::GNULongName && long_name.is_none() {
                long_name = Some(self.long_name(size)?);
                continue;
            }
            let path = long_name.unwrap_or_else(|| header.path_bytes().into_owned());
            let kind = kind(header, size).map_err(|refusal| refusal.at(&path))?;
            self.expect(match kind {
                Kind::File { size, .. } => size,
                // What a directory says of its size is meant for a file system that had one.
                Kind::Directory => 0,
            });
            return Ok(Some(Member { path, kind }));
        }
    }

    /// Bytes of the current file; 0 at its end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let len = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if len == 0 {
            return Ok(0);
        }
        let count = self.inflate(&mut buffer[..len])?;
        if count == 0 {
            return Err(Refusal::Truncated.whole());
        }
        self.left -= count as u64;
        Ok(count)
    }

    fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = padding(size);
    }

    fn skip(&mut self) -> Result<(), Error> {
        let mut rest = [0; BLOCK];
        while self.read(&mut rest)? > 0 {}
        self.left = std::mem::take(&mut self.padding);
        while self.read(&mut rest)? > 0 {}
        Ok(())
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        if size > MAX_NAME {
            return Err(Refusal::Path(sync_core::path::PathError::TooLong).whole());
        }
        let mut name = vec![0; usize::try_from(size).unwrap_or_default()];
        self.expect(size);
        let mut filled = 0;
        while filled < name.len() {
            filled += self.read(&mut name[filled..])?;
        }
        self.skip()?;
        if name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    /// The second block of zeros, zeros that pad the archive, and then nothing.
    fn end(&mut self) -> Result<(), Error> {
        let mut block = [0; BLOCK];
        self.read_exact(&mut block)?;
        loop {
            if block.iter().any(|byte| *byte != 0) {
                return Err(Refusal::Trailing.whole());
            }
            block.fill(0);
            // The decoder compares length and checksum where the member ends.
            if self.inflate(&mut block)? == 0 {
                break;
            }
        }
        match self.gzip.get_mut().fill_buf() {
            Ok([]) => Ok(()),
            _ => Err(Refusal::Trailing.whole()),
        }
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.inflate(&mut buffer[filled..])? {
                0 => return Err(Refusal::Truncated.whole()),
                count => filled += count,
            }
        }
        Ok(())
    }

    fn inflate(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let count = self.gzip.read(buffer).map_err(|error| {
            let refusal = match error.kind() {
                io::ErrorKind::UnexpectedEof => Refusal::Truncated,
                _ => Refusal::NotGzip,
            };
            refusal.whole()
        })?;
        self.inflated += count as u64;
        let taken = self.gzip.get_ref().taken;
        let limits = &self.limits;
        if taken > limits.compressed || self.inflated > limits.inflated {
            return Err(Refusal::TooLarge.whole());
        }
        if self.inflated > limits.free.max(taken.saturating_mul(limits.ratio)) {
            return Err(Refusal::Bomb.whole());
        }
        Ok(count)
    }
}

/// How many bytes follow those of a file, up to the next header.
pub(super) fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

/// The size that a header gives, once its checksum was found right.
fn size(header: &Header) -> Result<u64, Error> {
    let not_tar = |_| Refusal::NotTar.at(&header.path_bytes());
    let bytes = header.as_bytes();
    // The checksum counts its own field as spaces.
    let sum: u32 = [&bytes[..148], &[b' '; 8], &bytes[156..]]
        .iter()
        .flat_map(|part| part.iter())
        .map(|byte| u32::from(*byte))
        .sum();
    if header.cksum().map_err(not_tar)? != sum {
        return Err(Refusal::NotTar.whole());
    }
    let size = header.entry_size().map_err(not_tar)?;
    // So that nothing below overflows.
    if size > u64::MAX / 2 {
        return Err(Refusal::TooLarge.at(&header.path_bytes()));
    }
    Ok(size)
}

fn kind(header: &Header, size: u64) -> Result<Kind, Refusal> {
    match header.entry_type() {
        EntryType::Regular => {
            let mode = header.mode().map_err(|_| Refusal::NotTar)?;
            Ok(Kind::File {
                size,
                executable: mode & 0o100 != 0,
            })
        }
        EntryType::Directory => Ok(Kind::Directory),
        EntryType::Link | EntryType::Symlink | EntryType::GNULongLink => Err(Refusal::Link),
        EntryType::Char | EntryType::Block | EntryType::Fifo => Err(Refusal::Special),
        _ => Err(Refusal::Unsupported),
    }
}
