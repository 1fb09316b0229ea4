//! Objects into blocks, blocks into a pack.

use bytes::Bytes;
use snafu::ensure;
use sync_core::Digest;
use sync_core::wire::put_bytes;

use super::{
    Class, Codec, CompressSnafu, Form, HEADER_LEN, LEVEL, MAGIC, MAX_COUNT, MAX_OBJECT, MAX_RAW,
    ObjectLenSnafu, PackError, Patch, Span, TARGET_NODES, TARGET_RAW, narrow,
};

/// A finished block: header and payload as they are stored and sent.
#[derive(Debug, Clone)]
pub struct BuiltBlock {
    /// Header and payload.
    pub stored: Bytes,
    /// Where each object is in the raw bytes, in the order they were added.
    pub spans: Vec<Span>,
}

/// Collects objects of one class, or patches of such objects, into a block.
pub struct BlockBuilder {
    class: Class,
    form: Form,
    raw: Vec<u8>,
    /// How many bytes the patches make.
    made: usize,
    spans: Vec<Span>,
    compressor: zstd::bulk::Compressor<'static>,
}

impl std::fmt::Debug for BlockBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockBuilder")
            .field("class", &self.class)
            .field("raw_len", &self.raw.len())
            .field("count", &self.spans.len())
            .finish_non_exhaustive()
    }
}

impl BlockBuilder {
    /// An empty block for objects of `class`.
    pub fn new(class: Class) -> Result<Self, PackError> {
        Self::of(class, Form::Objects)
    }

    /// An empty block for patches of objects of `class`.
    pub fn patches(class: Class) -> Result<Self, PackError> {
        Self::of(class, Form::Patches)
    }

    fn of(class: Class, form: Form) -> Result<Self, PackError> {
        Ok(Self {
            class,
            form,
            raw: Vec::new(),
            made: 0,
            spans: Vec::new(),
            compressor: zstd::bulk::Compressor::new(LEVEL)
                .map_err(|error| compress_error(&error))?,
        })
    }

    /// Nodes are read one by one, here and there, and a block is inflated for each; what is patched is read once.
    fn target(&self) -> usize {
        match (self.class, self.form) {
            (Class::Nodes, Form::Objects) => TARGET_NODES,
            _ => TARGET_RAW,
        }
    }

    /// Adds an object, and gives back the block before it where that was full.
    ///
    /// # Errors
    ///
    /// [`PackError::ObjectLen`] where the object is empty or longer than [`MAX_OBJECT`]; the builder is as before.
    pub fn add(&mut self, object: &[u8]) -> Result<Option<BuiltBlock>, PackError> {
        ensure!(
            !object.is_empty() && object.len() <= MAX_OBJECT,
            ObjectLenSnafu
        );
        let full =
            self.raw.len() + object.len() > self.target() || self.spans.len() >= MAX_COUNT as usize;
        let block = if full { self.finish()? } else { None };
        put_bytes(&mut self.raw, object);
        self.spans.push(Span {
            start: narrow(self.raw.len() - object.len()),
            len: narrow(object.len()),
        });
        Ok(block)
    }

    /// Adds a patch to a builder of [`BlockBuilder::patches`], likewise: a block is full also where its patches make
    /// [`MAX_RAW`] bytes.
    pub fn add_patch(&mut self, patch: &Patch) -> Result<Option<BuiltBlock>, PackError> {
        let full = self.made + patch.result_len() > MAX_RAW;
        let block = if full { self.finish()? } else { None };
        let filled = self.add(&patch.encode())?;
        self.made += patch.result_len();
        Ok(block.or(filled))
    }

    /// Closes the block, `None` where nothing was added. The builder is empty afterwards and can be used again.
    pub fn finish(&mut self) -> Result<Option<BuiltBlock>, PackError> {
        if self.spans.is_empty() {
            return Ok(None);
        }
        let compressed = if self.looks_random()? {
            None
        } else {
            let compressed = self.compressor.compress(&self.raw);
            let compressed = compressed.map_err(|error| compress_error(&error))?;
            Some(compressed).filter(|compressed| compressed.len() < self.raw.len())
        };
        let (codec, payload) = match &compressed {
            Some(compressed) => (Codec::Zstd, compressed),
            None => (Codec::Raw, &self.raw),
        };
        let mut stored = Vec::with_capacity(HEADER_LEN + payload.len());
        put_header(
            &mut stored,
            [codec as u8, self.class as u8, self.form as u8],
            [
                narrow(self.raw.len()),
                narrow(payload.len()),
                narrow(self.spans.len()),
            ],
        );
        stored.extend_from_slice(payload);
        self.raw.clear();
        self.made = 0;
        Ok(Some(BuiltBlock {
            stored: stored.into(),
            spans: std::mem::take(&mut self.spans),
        }))
    }

    /// Whether none of a few samples of a large block becomes smaller: what is compressed or encrypted already is left as
    /// it is without an attempt at all of it.
    fn looks_random(&mut self) -> Result<bool, PackError> {
        if self.raw.len() < SAMPLES * SAMPLE * 2 {
            return Ok(false);
        }
        // The first one at the start, the last one at the end.
        let step = (self.raw.len() - SAMPLE) / (SAMPLES - 1);
        for start in (0..SAMPLES).map(|sample| sample * step) {
            let sample = &self.raw[start..start + SAMPLE];
            let compressed = self.compressor.compress(sample);
            if compressed.map_err(|error| compress_error(&error))?.len() < SAMPLE {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// How many samples of a block are tried.
const SAMPLES: usize = 4;
/// How many bytes each of them has.
const SAMPLE: usize = 4 << 10;

fn compress_error(error: &std::io::Error) -> PackError {
    CompressSnafu {
        reason: error.to_string(),
    }
    .build()
}

fn put_header(out: &mut Vec<u8>, [codec, class, form]: [u8; 3], lengths: [u32; 3]) {
    out.extend_from_slice(&[codec, class, form, 0]);
    for length in lengths {
        out.extend_from_slice(&length.to_le_bytes());
    }
}

/// The frame around blocks: the magic before them, and the end block that counts and digests them.
#[derive(Debug, Clone)]
pub struct PackFrame {
    hasher: blake3::Hasher,
    len: u64,
    objects: u32,
}

impl PackFrame {
    /// Starts a pack; the bytes go first.
    pub fn start() -> (Self, Bytes) {
        let mut frame = Self {
            hasher: blake3::Hasher::new(),
            len: 0,
            objects: 0,
        };
        let magic = Bytes::from_static(&MAGIC);
        frame.take_in(&magic);
        (frame, magic)
    }

    /// Counts in a block of `objects` objects that the caller puts next; gives its offset in the pack.
    pub fn append(&mut self, stored: &[u8], objects: u32) -> u64 {
        let offset = self.len;
        self.take_in(stored);
        self.objects = self.objects.saturating_add(objects);
        offset
    }

    /// How many bytes the pack has so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether no block was appended.
    pub fn is_empty(&self) -> bool {
        self.objects == 0
    }

    /// How many objects were counted in so far.
    pub fn objects(&self) -> u32 {
        self.objects
    }

    /// The end block, which the caller puts last, and the digest in it, which is also the name of the pack.
    pub fn finish(self) -> (Digest, Bytes) {
        let digest = Digest::from_bytes(*self.hasher.finalize().as_bytes());
        let mut end = Vec::with_capacity(HEADER_LEN + Digest::LEN);
        let len = narrow(Digest::LEN);
        put_header(&mut end, [0; 3], [len, len, self.objects]);
        end.extend_from_slice(digest.as_bytes());
        (digest, end.into())
    }

    fn take_in(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
    }
}

/// Writes a pack as a stream of pieces. Holds one open block per class, so memory is bounded.
#[derive(Debug)]
pub struct PackWriter {
    frame: PackFrame,
    ready: Vec<Bytes>,
    nodes: BlockBuilder,
    contents: BlockBuilder,
    /// Of nodes and of contents, once there is any.
    patches: Vec<BlockBuilder>,
}

impl PackWriter {
    /// Starts a pack.
    pub fn new() -> Result<Self, PackError> {
        let (frame, magic) = PackFrame::start();
        Ok(Self {
            frame,
            ready: vec![magic],
            nodes: BlockBuilder::new(Class::Nodes)?,
            contents: BlockBuilder::new(Class::Contents)?,
            patches: Vec::new(),
        })
    }

    /// Adds an object. The caller sends each object once; nothing here remembers them.
    ///
    /// # Errors
    ///
    /// [`PackError::ObjectLen`] where the object is empty or too long; the pack is as before.
    pub fn add(&mut self, class: Class, object: &[u8]) -> Result<(), PackError> {
        let builder = match class {
            Class::Nodes => &mut self.nodes,
            Class::Contents => &mut self.contents,
        };
        if let Some(block) = builder.add(object)? {
            self.push(&block);
        }
        Ok(())
    }

    /// Adds a patch in the place of the object that it makes. Such a pack is for who has the bases, and is not stored.
    ///
    /// # Errors
    ///
    /// [`PackError::ObjectLen`] where the patch itself is longer than an object; the pack is as before.
    pub fn add_patch(&mut self, class: Class, patch: &Patch) -> Result<(), PackError> {
        let of_class = self.patches.iter_mut().find(|open| open.class == class);
        let block = if let Some(builder) = of_class {
            builder.add_patch(patch)?
        } else {
            let mut builder = BlockBuilder::patches(class)?;
            let block = builder.add_patch(patch)?;
            self.patches.push(builder);
            block
        };
        if let Some(block) = block {
            self.push(&block);
        }
        Ok(())
    }

    /// Passes on a stored block, header and payload, of `objects` objects as it is.
    pub fn add_stored(&mut self, stored: Bytes, objects: u32) {
        self.frame.append(&stored, objects);
        self.ready.push(stored);
    }

    /// The pieces that are complete by now, in order.
    pub fn take(&mut self) -> std::vec::Drain<'_, Bytes> {
        self.ready.drain(..)
    }

    /// Closes the open blocks, nodes before contents, without ending the pack: what follows starts blocks of its own.
    pub fn flush(&mut self) -> Result<(), PackError> {
        if let Some(block) = self.nodes.finish()? {
            self.push(&block);
        }
        if let Some(block) = self.contents.finish()? {
            self.push(&block);
        }
        self.patches.sort_by_key(|open| open.class);
        let patches = self.patches.iter_mut().map(BlockBuilder::finish);
        for block in patches
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
        {
            self.push(&block);
        }
        Ok(())
    }

    /// Ends the pack: the pieces that were not taken yet, the last of them the end block.
    pub fn finish(mut self) -> Result<Vec<Bytes>, PackError> {
        self.flush()?;
        let (_, end) = self.frame.finish();
        self.ready.push(end);
        Ok(self.ready)
    }

    fn push(&mut self, block: &BuiltBlock) {
        self.add_stored(block.stored.clone(), narrow(block.spans.len()));
    }
}
