//! The manifest: what a tree has, by SHA-256.
//!
//! Objects are named by BLAKE3, so a file has to be read for its SHA-256. It is remembered by what its entry says of its
//! content, which never changes its bytes: in memory, for some hundred thousand files. In the catalogue it would turn a read into a
//! durable write and want clearing up; lost, it costs one pass over the files that are listed.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use data_encoding::HEXLOWER;
use ring::digest::{Context, SHA256};
use serde::{Serialize, Serializer};
use sync_core::{Digest, Entry};

use super::answer;
use super::contents::{Ahead, Piece, Selection, TreeFile};
use super::outgoing::Outgoing;
use super::unpack::finished;

/// How many checksums one of the two generations holds: 64 bytes each.
const GENERATION: usize = 1 << 17;

/// Checksums by content. The last ones that were used are kept, between one and two generations of them.
#[derive(Debug, Default)]
pub(super) struct Checksums {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Digest, [u8; 32]>,
    old: HashMap<Digest, [u8; 32]>,
}

impl Checksums {
    /// Under what a file's checksum is kept. It names the tenant too, so that answering fast tells nothing about another one.
    fn key(tenant: &str, file: &TreeFile) -> Digest {
        let entry = Entry::File {
            executable: false,
            content: file.content.clone(),
        };
        Digest::of(&[tenant.as_bytes(), b"/", &entry.encode()].concat())
    }

    fn get(&self, key: &Digest) -> Option<[u8; 32]> {
        let mut kept = self
            .generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(checksum) = kept.young.get(key) {
            return Some(*checksum);
        }
        let checksum = kept.old.remove(key)?;
        kept.insert(*key, checksum);
        Some(checksum)
    }

    fn insert(&self, key: Digest, checksum: [u8; 32]) {
        let mut kept = self
            .generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        kept.insert(key, checksum);
    }
}

impl Generations {
    fn insert(&mut self, key: Digest, checksum: [u8; 32]) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, checksum);
    }
}

/// A file as a manifest lists it.
#[derive(Debug, Serialize)]
pub(super) struct ListedFile<'f> {
    pub(super) path: &'f str,
    #[serde(serialize_with = "hex")]
    pub(super) checksum: [u8; 32],
    pub(super) size: u64,
}

fn hex<S: Serializer>(checksum: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&HEXLOWER.encode(checksum))
}

/// A manifest that is being written, one file after the other.
pub(super) struct Manifest<'o> {
    out: &'o mut Outgoing,
    /// Over the checksums in hexadecimal digits, in the order of the list.
    checksum: Context,
    total_size: u64,
    is_first: bool,
}

impl<'o> Manifest<'o> {
    pub(super) fn start(out: &'o mut Outgoing) -> io::Result<Self> {
        out.write_all(b"{\"files\":[")?;
        Ok(Self {
            out,
            checksum: Context::new(&SHA256),
            total_size: 0,
            is_first: true,
        })
    }

    pub(super) fn file(&mut self, file: &ListedFile<'_>) -> io::Result<()> {
        if !std::mem::take(&mut self.is_first) {
            self.out.write_all(b",")?;
        }
        self.checksum
            .update(HEXLOWER.encode(&file.checksum).as_bytes());
        self.total_size = self.total_size.saturating_add(file.size);
        serde_json::to_writer(&mut *self.out, file)?;
        Ok(())
    }

    /// Ends the manifest, and gives back where it was written to.
    pub(super) fn finish(self, time: u64) -> io::Result<&'o mut Outgoing> {
        let checksum = HEXLOWER.encode(&finished(self.checksum));
        let (time, total) = (answer::time(time), self.total_size);
        write!(
            self.out,
            "],\"timestamp\":\"{time}\",\"checksum\":\"{checksum}\",\"total_size\":{total}}}"
        )?;
        Ok(self.out)
    }
}

/// What stands between the bytes of files.
enum Mark {
    /// A file begins whose checksum is not known.
    Begin,
    /// A file is complete; its checksum, where it was known.
    End(Box<TreeFile>, Option<[u8; 32]>),
}

/// Writes the manifest of what is selected. Blocking.
pub(super) fn write(
    selection: &Selection,
    checksums: &Checksums,
    time: u64,
    out: &mut Outgoing,
) -> io::Result<()> {
    let tenant = selection.repository.name().to_owned();
    let mut manifest = Manifest::start(out)?;
    let mut context = Context::new(&SHA256);
    let each = |piece: Piece<Mark>| match piece {
        Piece::Bytes(bytes) => {
            context.update(&bytes);
            Ok(())
        }
        Piece::Mark(Mark::Begin) => {
            context = Context::new(&SHA256);
            Ok(())
        }
        Piece::Mark(Mark::End(file, known)) => {
            let checksum = known.unwrap_or_else(|| {
                let checksum = finished(context.clone());
                checksums.insert(Checksums::key(&tenant, &file), checksum);
                checksum
            });
            manifest.file(&ListedFile {
                path: file.path.as_str(),
                checksum,
                size: file.size,
            })
        }
    };
    let mut ahead = Ahead::new(selection, each);
    selection.files(|file| {
        let known = checksums.get(&Checksums::key(&tenant, &file));
        if known.is_none() {
            ahead.mark(Mark::Begin)?;
            ahead.content(&file.content)?;
        }
        ahead.mark(Mark::End(Box::new(file), known))
    })?;
    ahead.flush()?;
    drop(ahead);
    manifest.finish(time).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksums_that_are_used_stay() {
        let checksums = Checksums::default();
        let digest = |n: usize| Digest::of(&n.to_le_bytes());
        checksums.insert(digest(0), [7; 32]);
        for n in 1..3 * GENERATION {
            checksums.insert(digest(n), [1; 32]);
            if n % 1000 == 0 {
                assert_eq!(checksums.get(&digest(0)), Some([7; 32]));
            }
        }
        assert_eq!(checksums.get(&digest(1)), None);
        let kept = checksums.generations.lock().unwrap();
        assert!(kept.young.len() + kept.old.len() <= 2 * GENERATION);
    }
}
