//! Bytes as a difference from other bytes: ranges to copy from a base, and literal bytes between them.
//!
//! [`between`] makes a patch where both versions are at hand, [`from_signature`] where only the [`Signature`] of the base is:
//! short hashes of its blocks, which are looked for at every offset of the target (Tridgell, "Efficient Algorithms for
//! Sorting and Synchronization", 1999). [`apply`] gives the target again. The bytes of both are in `docs/formats.md`.
//!
//! **Invariant:** a patch is not believed. What it copies is inside the base, and it makes no more bytes than it is allowed.
//! Whether these are the right ones only their digest tells: a patch from a signature can be wrong where two blocks
//! have one hash, which happens about once in 2^40 comparisons.

mod index;
mod make;
mod signature;

#[cfg(test)]
mod tests;

use snafu::{OptionExt, Snafu, ensure};

use crate::wire::{Reader, put_bytes, put_varint};

pub use make::{between, from_signature};
pub use signature::Signature;

/// Why a patch was refused.
#[derive(Debug, Clone, PartialEq, Eq, Snafu)]
#[snafu(display("{reason}"))]
pub struct PatchError {
    reason: &'static str,
}

/// A range of the base that the target has, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Copy {
    /// Where it is in the target.
    at: usize,
    /// Where it is in the base.
    start: usize,
    len: usize,
}

impl Copy {
    /// The first byte of the target after it.
    const fn end(&self) -> usize {
        self.at + self.len
    }
}

/// How many bytes `patch` says that it makes; `None` where it does not say.
pub fn result_len(patch: &[u8]) -> Option<u64> {
    Reader::new(patch).varint()
}

/// Makes the target from its base; allocates no more than `max` bytes, whatever the patch claims.
///
/// # Errors
///
/// Where the bytes are not a patch, it copies what the base has not, or it makes more or fewer bytes than it says.
pub fn apply(base: &[u8], patch: &[u8], max: usize) -> Result<Vec<u8>, PatchError> {
    let cut = PatchSnafu {
        reason: "a patch ends too early",
    };
    let mut reader = Reader::new(patch);
    let len = reader.varint().context(cut)?;
    let len = usize::try_from(len).ok().filter(|len| *len <= max);
    let len = len.context(PatchSnafu {
        reason: "a patch makes more bytes than it may",
    })?;
    let mut target = Vec::with_capacity(len);
    while target.len() < len {
        let literal = reader.bytes(len - target.len()).context(cut)?;
        target.extend_from_slice(literal);
        if target.len() == len {
            break;
        }
        let mut number = || usize::try_from(reader.varint()?).ok();
        let (count, start) = (number().context(cut)?, number().context(cut)?);
        ensure!(
            (1..=len - target.len()).contains(&count),
            PatchSnafu {
                reason: "a patch copies nothing, or more than it makes",
            }
        );
        let range = start
            .checked_add(count)
            .and_then(|end| base.get(start..end));
        target.extend_from_slice(range.context(PatchSnafu {
            reason: "a patch copies what its base has not",
        })?);
    }
    ensure!(
        reader.is_empty(),
        PatchSnafu {
            reason: "a patch goes on after its last byte",
        }
    );
    Ok(target)
}

/// The bytes of a patch that makes `target` by `copies`, which are in the order of the target and do not overlap there.
fn encode(target: &[u8], copies: &[Copy]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, target.len() as u64);
    let mut done = 0;
    for copy in copies {
        put_bytes(&mut out, &target[done..copy.at]);
        put_varint(&mut out, copy.len as u64);
        put_varint(&mut out, copy.start as u64);
        done = copy.end();
    }
    if done < target.len() {
        put_bytes(&mut out, &target[done..]);
    }
    out
}
