//! Patches in blocks: objects as differences from objects that the reader has.

use bytes::Bytes;
use snafu::{OptionExt, ResultExt, ensure};
use sync_core::Digest;
use sync_core::patch::{self, Signature};

use super::{Class, DecodedBlock, MAX_OBJECT, MAX_RAW, PackError, PatchLenSnafu, PatchSnafu};

/// An object as a difference from another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    base: Digest,
    bytes: Bytes,
    /// What it says that it makes: 1 to [`MAX_OBJECT`].
    result_len: usize,
}

impl Patch {
    /// The patch to `target` from the object `base` whose bytes are `bytes`; `None` where it does not pay.
    pub fn between(base: Digest, bytes: &[u8], target: &[u8]) -> Option<Self> {
        Self::worthwhile(base, patch::between(bytes, target))
    }

    /// The patch to `target` from the object `base` of which only the signature is known; `None` where it does not pay.
    pub fn from_signature(base: Digest, signature: &Signature, target: &[u8]) -> Option<Self> {
        Self::worthwhile(base, patch::from_signature(signature, target))
    }

    fn worthwhile(base: Digest, bytes: Vec<u8>) -> Option<Self> {
        let patch = Self::new(base, bytes.into()).ok()?;
        // Literal bytes compress and digests do not, so a patch must save a good deal.
        let pays = patch.bytes.len() + Digest::LEN <= patch.result_len / 4 * 3;
        pays.then_some(patch)
    }

    fn new(base: Digest, bytes: Bytes) -> Result<Self, PackError> {
        let len = patch::result_len(&bytes).and_then(|len| usize::try_from(len).ok());
        let result_len = len.filter(|len| (1..=MAX_OBJECT).contains(len));
        let result_len = result_len.context(PatchLenSnafu)?;
        Ok(Self {
            base,
            bytes,
            result_len,
        })
    }

    /// What it is to be applied to.
    pub fn base(&self) -> Digest {
        self.base
    }

    /// How many bytes the object has.
    pub fn result_len(&self) -> usize {
        self.result_len
    }

    /// Makes the object, whose name is the digest of what comes out. `base` is what [`Patch::base`] names.
    ///
    /// # Errors
    ///
    /// [`PackError::Patch`] where the patch is malformed.
    pub fn apply(&self, base: &[u8]) -> Result<Vec<u8>, PackError> {
        let object = patch::apply(base, &self.bytes, self.result_len);
        object.context(PatchSnafu { base: self.base })
    }

    /// As it stands in a block.
    pub(super) fn encode(&self) -> Vec<u8> {
        [self.base.as_bytes(), &self.bytes[..]].concat()
    }
}

/// A block of patches taken apart. What they make together is at most [`MAX_RAW`] bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patches {
    /// What kind of objects they make.
    pub class: Class,
    /// The patches in order.
    pub patches: Vec<Patch>,
}

impl Patches {
    pub(super) fn decode(block: &DecodedBlock) -> Result<Self, PackError> {
        let mut made = 0;
        let mut patches = Vec::with_capacity(block.spans.len());
        for item in block.objects() {
            let base = item.get(..Digest::LEN).and_then(Digest::from_slice);
            let patch = Patch::new(base.context(PatchLenSnafu)?, item.slice(Digest::LEN..))?;
            made += patch.result_len();
            ensure!(made <= MAX_RAW, PatchLenSnafu);
            patches.push(patch);
        }
        Ok(Self {
            class: block.header.class,
            patches,
        })
    }
}
