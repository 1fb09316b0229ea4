//! What a tree holds at a path: the value of a files map.

use crate::content::Content;
use crate::wire::{Reader, put_bytes};

/// One file, link or empty directory of a tree.
///
/// Directories that have something in them are implied by the paths of what they hold;
/// only an empty one needs an entry, so that it does not vanish.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Entry {
    /// A regular file.
    File {
        /// Whether its owner may run it: the only permission that travels.
        executable: bool,
        /// Its bytes.
        content: Content,
    },
    /// A symbolic link.
    Link {
        /// Where it points: relative, and inside the tree ([`Entry::link_stays_inside`]).
        target: String,
    },
    /// A directory with nothing in it.
    Directory,
}

const FILE: u8 = 0;
const EXECUTABLE: u8 = 1;
const LINK: u8 = 2;
const DIRECTORY: u8 = 3;

impl Entry {
    /// The longest link target in bytes.
    pub const MAX_TARGET: usize = 4000;

    /// The canonical encoding: one entry, one sequence of bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(40);
        match self {
            Self::File {
                executable,
                content,
            } => {
                out.push(if *executable { EXECUTABLE } else { FILE });
                content.encode_into(&mut out);
            }
            Self::Link { target } => {
                out.push(LINK);
                put_bytes(&mut out, target.as_bytes());
            }
            Self::Directory => out.push(DIRECTORY),
        }
        out
    }

    /// Reads a canonical encoding; anything else is `None`.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let entry = match reader.byte()? {
            tag @ (FILE | EXECUTABLE) => {
                let content = Content::decode_from(&mut reader)?;
                content.len()?;
                Self::File {
                    executable: tag == EXECUTABLE,
                    content,
                }
            }
            LINK => {
                let target = std::str::from_utf8(reader.bytes(Self::MAX_TARGET)?).ok()?;
                Self::Link {
                    target: target.to_owned(),
                }
            }
            DIRECTORY => Self::Directory,
            _ => return None,
        };
        reader.is_empty().then_some(entry)
    }

    /// The size of a file in bytes, 0 for everything else.
    pub fn size(&self) -> u64 {
        match self {
            Self::File { content, .. } => content.len().unwrap_or(u64::MAX),
            Self::Link { .. } | Self::Directory => 0,
        }
    }

    /// The chunk of a file that is a single one, as all small files are.
    pub fn only_chunk(&self) -> Option<crate::Chunk> {
        match self {
            Self::File { content, .. } if content.depth == 0 => match *content.chunks {
                [chunk] => Some(chunk),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether a link at `path` with this `target` is relative and never leaves the tree on its way.
    ///
    /// This looks at the text alone: what the target's components are on disk is for the file system layer to check.
    pub fn link_stays_inside(path: &crate::TreePath, target: &str) -> bool {
        if target.is_empty() || target.starts_with('/') || target.len() > Self::MAX_TARGET {
            return false;
        }
        let plain =
            |c: &str| matches!(c, "" | "." | "..") || crate::TreePath::validate_name(c).is_ok();
        let mut depth = path.components().count() - 1;
        for component in target.split('/') {
            if !plain(component) {
                return false;
            }
            match component {
                "" | "." => {}
                ".." if depth == 0 => return false,
                ".." => depth -= 1,
                _ => depth += 1,
            }
        }
        // `c:x` would be absolute on a system with drive letters.
        crate::TreePath::new(target.trim_end_matches('/')) != Err(crate::path::PathError::Drive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Chunk, Digest, TreePath};
    use proptest::prelude::*;

    fn entries() -> impl Strategy<Value = Entry> {
        let chunk = (any::<[u8; 32]>(), 1..u64::from(u32::MAX)).prop_map(|(digest, len)| Chunk {
            digest: Digest::from_bytes(digest),
            len,
        });
        let file = (any::<bool>(), 0..2u8, prop::collection::vec(chunk, 1..=4)).prop_map(
            |(executable, depth, chunks)| Entry::File {
                executable,
                content: Content { depth, chunks },
            },
        );
        let link = "[a-z./]{1,20}".prop_map(|target| Entry::Link { target });
        prop_oneof![file, link, Just(Entry::Directory)]
    }

    proptest! {
        #[test]
        fn encoding_round_trips_and_refuses_prefixes(entry in entries()) {
            let bytes = entry.encode();
            prop_assert_eq!(Entry::decode(&bytes), Some(entry));
            prop_assert_eq!(Entry::decode(&bytes[..bytes.len() - 1]), None);
        }

        #[test]
        fn any_bytes_decode_to_what_encodes_back(bytes: Vec<u8>) {
            if let Some(entry) = Entry::decode(&bytes) {
                prop_assert_eq!(entry.encode(), bytes);
            }
        }
    }

    #[track_caller]
    fn check(path: &str, target: &str, inside: bool) {
        let path = TreePath::new(path).unwrap();
        assert_eq!(
            Entry::link_stays_inside(&path, target),
            inside,
            "{path} -> {target}"
        );
    }

    #[test]
    fn links_stay_inside() {
        check("a", "b", true);
        check("a/b", "../c", true);
        check("a/b", "../../c", false);
        check("a", "..", false);
        check("a", "/etc/passwd", false);
        check("a", "", false);
        check("a/b", "x/../../y", true);
        check("a/b", "x/../../../y", false);
        check("a", "c:/x", false);
        check("a", "b\u{1b}[0m", false);
        check("a/b", "./c/", true);
    }
}
