//! A file's bytes as chunks.

use crate::Digest;
use crate::wire::{Reader, put_varint};

/// One chunk: its digest and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chunk {
    /// The digest of the chunk's bytes, or of a list of further chunks where [`Content::depth`] is not 0.
    pub digest: Digest,
    /// How many bytes of the file it covers.
    pub len: u64,
}

/// What a file holds, as a short list of chunks.
///
/// At `depth` 0 the chunks are the file's bytes in order.
/// A file with more than [`Content::MAX_INLINE`] chunks has one chunk at `depth` 1 or more: it names a *list object*,
/// whose items are chunks at `depth - 1`. So an entry stays small, and no list is larger than [`Content::MAX_LIST`] items.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Content {
    /// How many levels of list objects are between these chunks and the file's bytes.
    pub depth: u8,
    /// The chunks, in file order; none for an empty file.
    pub chunks: Vec<Chunk>,
}

impl Content {
    /// More chunks than this go into a list object.
    pub const MAX_INLINE: usize = 4;
    /// The most items of one list object.
    pub const MAX_LIST: usize = 4096;
    /// The deepest nesting of list objects.
    pub const MAX_DEPTH: u8 = 4;

    /// The fewest bytes of a chunk, but for a file's last one and for a file with no list.
    pub const MIN_CHUNK: u64 = 16 * 1024;

    /// The most chunks of a file of this size whose chunks are in lists.
    pub const fn most_chunks(size: u64) -> u64 {
        size / Self::MIN_CHUNK + 1
    }

    /// The content of a file from its data chunks in order.
    /// Each list object that is needed is handed to `list` with its digest, innermost first.
    pub fn from_chunks(chunks: Vec<Chunk>, mut list: impl FnMut(Digest, Vec<u8>)) -> Self {
        let mut content = Self { depth: 0, chunks };
        while content.chunks.len() > Self::MAX_INLINE {
            let above = content.chunks.chunks(Self::MAX_LIST).map(|items| {
                let bytes = encode_list(items);
                let digest = Digest::of(&bytes);
                list(digest, bytes);
                Chunk {
                    digest,
                    len: items.iter().map(|chunk| chunk.len).sum(),
                }
            });
            content = Self {
                depth: content.depth + 1,
                chunks: above.collect(),
            };
        }
        content
    }

    /// How many bytes the file has; `None` where the lengths overflow.
    pub fn len(&self) -> Option<u64> {
        self.chunks
            .iter()
            .try_fold(0u64, |sum, chunk| sum.checked_add(chunk.len))
    }

    /// Whether the file has no bytes.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        out.push(self.depth);
        encode_chunks(&self.chunks, out);
    }

    pub(crate) fn decode_from(reader: &mut Reader<'_>) -> Option<Self> {
        let depth = reader.byte()?;
        let chunks = decode_chunks(reader, Self::MAX_INLINE)?;
        let shape = depth == 0 || (depth <= Self::MAX_DEPTH && !chunks.is_empty());
        shape.then_some(Self { depth, chunks })
    }
}

fn encode_chunks(chunks: &[Chunk], out: &mut Vec<u8>) {
    put_varint(out, chunks.len() as u64);
    for chunk in chunks {
        put_varint(out, chunk.len);
        out.extend_from_slice(chunk.digest.as_bytes());
    }
}

fn decode_chunks(reader: &mut Reader<'_>, max: usize) -> Option<Vec<Chunk>> {
    let count = usize::try_from(reader.varint()?).ok()?;
    if count > max {
        return None;
    }
    let chunk = |reader: &mut Reader<'_>| {
        let len = reader.varint()?;
        let digest = reader.digest()?;
        // A chunk of nothing could be repeated for ever.
        (len > 0).then_some(Chunk { digest, len })
    };
    // Most lists have one item, and there may be a list for each file of a tree: none has room for more than it holds.
    let mut chunks = Vec::with_capacity(count);
    for _ in 0..count {
        chunks.push(chunk(reader)?);
    }
    Some(chunks)
}

/// The bytes of a list object.
pub fn encode_list(items: &[Chunk]) -> Vec<u8> {
    let mut out = vec![LIST_TAG];
    encode_chunks(items, &mut out);
    out
}

/// The items of a list object, `None` where the bytes are not one.
/// The caller has checked the bytes' digest, and checks that the lengths add up to what named the list.
pub fn decode_list(bytes: &[u8]) -> Option<Vec<Chunk>> {
    let mut reader = Reader::new(bytes);
    if reader.byte()? != LIST_TAG {
        return None;
    }
    let items = decode_chunks(&mut reader, Content::MAX_LIST)?;
    (reader.is_empty() && !items.is_empty()).then_some(items)
}

/// First byte of a list object.
const LIST_TAG: u8 = 0xa2;

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(count: usize) -> Vec<Chunk> {
        (0..count)
            .map(|n| Chunk {
                digest: Digest::of(&n.to_le_bytes()),
                len: 10,
            })
            .collect()
    }

    /// Counts the list objects, and checks that following them gives the chunks again.
    #[track_caller]
    fn check(count: usize, depth: u8, lists: usize) {
        let mut objects = std::collections::HashMap::new();
        let content = Content::from_chunks(chunks(count), |digest, bytes| {
            objects.insert(digest, bytes);
        });
        assert_eq!((content.depth, objects.len()), (depth, lists));
        assert_eq!(content.len(), Some(10 * count as u64));
        let mut level = content.chunks;
        for _ in 0..content.depth {
            level = level
                .iter()
                .flat_map(|c| decode_list(&objects[&c.digest]).unwrap())
                .collect();
        }
        assert_eq!(level, chunks(count));
    }

    #[test]
    fn long_contents_move_into_lists() {
        check(0, 0, 0);
        check(4, 0, 0);
        check(5, 1, 1);
        check(4096, 1, 1);
        check(4097, 1, 2);
        check(4096 * 5, 2, 6);
    }

    #[test]
    fn a_list_that_is_cut_or_has_an_empty_chunk_is_refused() {
        let bytes = encode_list(&chunks(5));
        assert!(decode_list(&bytes).is_some());
        assert!(decode_list(&bytes[..bytes.len() - 1]).is_none());
        assert!(
            decode_list(&encode_list(&[Chunk {
                digest: Digest::of(b""),
                len: 0
            }]))
            .is_none()
        );
        assert!(decode_list(b"").is_none());
    }
}
