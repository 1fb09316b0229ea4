//! The commit record: every move that a transaction makes, with what it takes to see whether it was made, and to take it back.
//!
//! The file is `SYNCJRNL`, a version byte, the BLAKE3 digest of what follows, and the [`Journal`] through [`sync_core::codec`].

use serde::{Deserialize, Serialize};
use sync_core::{Digest, TreePath, codec};

use crate::stat::FileStat;

const MAGIC: &[u8; 9] = b"SYNCJRNL\x01";

/// One transaction.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Journal {
    /// The caller's bytes.
    pub(crate) note: Vec<u8>,
    /// In the order in which they are made; taken back in the other.
    pub(crate) moves: Vec<Move>,
}

/// One rename, or the removal of a directory that became empty.
///
/// Whether a rename was made is read from its end in the private directory, which nobody else changes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Move {
    /// The file or link at `path` goes to `old/<slot>`. Made if something is there.
    Aside {
        path: TreePath,
        seen: Seen,
        slot: u32,
    },
    /// The directory at `path` goes if nothing is in it. Its mode is kept so that it can be made again.
    Prune { path: TreePath, mode: u32 },
    /// The file or link at `path` and the staged one change places. Made if `new/<path>` is not the staged one.
    Exchange {
        path: TreePath,
        seen: Seen,
        staged: FileStat,
    },
    /// The staged file, link or directory at `path` moves in where nothing was. Made if nothing is at `new/<path>`.
    In {
        path: TreePath,
        /// The file or link itself, or every one that a directory holds.
        staged: Vec<Staged>,
        /// Whether a directory moves in.
        directory: bool,
    },
}

/// A file or link in the state that the plan was checked against.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Its stat.
    pub(crate) stat: FileStat,
    /// Whether it was so young that an edit might not show in the stat.
    pub(crate) young: bool,
    /// Its encoded entry, with which it is compared where the stat does not vouch for it.
    pub(crate) entry: Vec<u8>,
}

/// A staged file or link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Staged {
    /// Its path in the tree.
    pub(crate) path: TreePath,
    /// Its stat, by which an edit after it moved in is noticed.
    pub(crate) stat: FileStat,
}

impl Journal {
    /// The bytes of the file: what comes first, and the rest.
    pub(crate) fn encode(&self) -> Result<[Vec<u8>; 2], codec::CodecError> {
        let body = codec::encode(self)?;
        let head = [&MAGIC[..], Digest::of(&body).as_bytes()].concat();
        Ok([head, body])
    }

    /// Reads the bytes of the file; `None` where they are damaged.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (checksum, body) = rest.split_at_checked(Digest::LEN)?;
        if Digest::of(body).as_bytes() != checksum {
            return None;
        }
        codec::decode(body).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_damage_is_noticed() {
        let journal = Journal {
            note: b"note".to_vec(),
            moves: vec![Move::Prune {
                path: TreePath::new("a/b").unwrap(),
                mode: 0o755,
            }],
        };
        let bytes = journal.encode().unwrap().concat();
        assert_eq!(Journal::decode(&bytes), Some(journal));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(Journal::decode(&flipped), None, "{at}");
            assert_eq!(Journal::decode(&bytes[..at]), None, "{at}");
        }
    }
}
