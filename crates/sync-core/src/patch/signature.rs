//! The short hashes of a base's blocks, and the hash that rolls over a target.

/// An odd constant without pattern: 2^64 divided by the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
/// Bits of a check.
const CHECK_BITS: u32 = 40;

/// A polynomial over the bytes of a window, which slides in constant time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    sum: u64,
    /// What the first byte of the window is multiplied by.
    top: u64,
}

impl Window {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let add = |sum: u64, byte: &u8| sum.wrapping_mul(MULTIPLIER).wrapping_add(term(*byte));
        let powers = u32::try_from(bytes.len().saturating_sub(1)).unwrap_or(u32::MAX);
        Self {
            sum: bytes.iter().fold(0, add),
            top: MULTIPLIER.wrapping_pow(powers),
        }
    }

    /// The window of the same length with `first` gone and `next` added.
    pub(super) fn slid(self, first: u8, next: u8) -> Self {
        let rest = self.sum.wrapping_sub(term(first).wrapping_mul(self.top));
        Self {
            sum: rest.wrapping_mul(MULTIPLIER).wrapping_add(term(next)),
            ..self
        }
    }

    /// The hash of the window: 40 bits, each of which depends on every byte.
    pub(super) fn check(self) -> u64 {
        let mixed = (self.sum ^ (self.sum >> 32)).wrapping_mul(MULTIPLIER);
        mixed >> (64 - CHECK_BITS)
    }
}

fn term(byte: u8) -> u64 {
    u64::from(byte) + 1
}

/// The hashes of the blocks of a base: what somebody who lacks it needs to know which parts of his bytes it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Bytes of all blocks but the last.
    pub(super) block: usize,
    /// Bytes of the base.
    pub(super) len: usize,
    pub(super) checks: Vec<u64>,
}

impl Signature {
    /// Bytes of one encoded hash.
    const CHECK_LEN: usize = 5;
    /// The shortest block.
    const MIN_BLOCK: usize = 64;

    /// The signature of `base`.
    pub fn of(base: &[u8]) -> Self {
        Self::with_block(base, Self::block_len(base.len()))
    }

    /// A signature of other blocks, to compare versions that are both at hand.
    pub(super) fn with_block(base: &[u8], block: usize) -> Self {
        Self {
            block,
            len: base.len(),
            checks: base
                .chunks(block)
                .map(|block| Window::of(block).check())
                .collect(),
        }
    }

    /// Bytes of a block of a base of `len` bytes: the power of two, at least 64, whose square is at least `16 * len`.
    /// With it the hashes of the blocks weigh about as much as the halves of blocks that an edit spoils.
    fn block_len(len: usize) -> usize {
        let mut block = Self::MIN_BLOCK;
        while block.saturating_mul(block) < len.saturating_mul(16) {
            block *= 2;
        }
        block
    }

    /// How many bytes the signature of a base of `len` bytes has.
    pub fn encoded_len(len: usize) -> usize {
        len.div_ceil(Self::block_len(len)) * Self::CHECK_LEN
    }

    /// The hashes in the order of the blocks, each in five bytes, little endian.
    pub fn encode(&self) -> Vec<u8> {
        let bytes = |check: &u64| check.to_le_bytes().into_iter().take(Self::CHECK_LEN);
        self.checks.iter().flat_map(bytes).collect()
    }

    /// Reads the signature of a base of `len` bytes; `None` where these bytes are none.
    pub fn decode(bytes: &[u8], len: usize) -> Option<Self> {
        let (checks, []) = bytes.as_chunks::<{ Self::CHECK_LEN }>() else {
            return None;
        };
        let check =
            |&[a, b, c, d, e]: &[u8; Self::CHECK_LEN]| u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]);
        (bytes.len() == Self::encoded_len(len)).then(|| Self {
            block: Self::block_len(len),
            len,
            checks: checks.iter().map(check).collect(),
        })
    }
}
