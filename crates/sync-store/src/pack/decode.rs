//! A stream of bytes into blocks, nothing believed.

use bytes::{Buf, Bytes, BytesMut};
use snafu::{OptionExt, ensure};
use sync_core::Digest;
use sync_core::wire::Reader;

use super::{
    BlockHeader, Class, Codec, CountSnafu, CutSnafu, DigestSnafu, EndSnafu, Form, HEADER_LEN,
    InflateSnafu, MAGIC, MAX_COUNT, MAX_OBJECT, MAX_RAW, MagicSnafu, ObjectLenSnafu, PackError,
    Patches, RawLenSnafu, ReservedSnafu, Span, StoredLenSnafu, StoredSnafu, TrailingSnafu,
    UnknownClassSnafu, UnknownCodecSnafu, narrow,
};

/// A block taken apart.
#[derive(Debug, Clone)]
pub struct DecodedBlock {
    /// The checked header.
    pub header: BlockHeader,
    /// Header and payload, as they were received.
    pub stored: Bytes,
    /// The objects with their lengths, inflated.
    pub raw: Bytes,
    /// Where each object is in `raw`.
    pub spans: Vec<Span>,
}

impl DecodedBlock {
    /// The objects in order.
    pub fn objects(&self) -> impl ExactSizeIterator<Item = Bytes> {
        // The decoder made the spans from these very bytes, so they are inside.
        let object = |span: &Span| {
            let start = span.start as usize;
            self.raw.slice(start..start + span.len as usize)
        };
        self.spans.iter().map(object)
    }
}

impl BlockHeader {
    /// Reads a header and checks it against every bound, before anything is allocated for it.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, PackError> {
        let [codec, class, form, zero, lengths @ ..] = *bytes;
        let codec = match codec {
            0 => Codec::Raw,
            1 => Codec::Zstd,
            codec => return UnknownCodecSnafu { codec }.fail(),
        };
        let class = match class {
            1 => Class::Nodes,
            2 => Class::Contents,
            class => return UnknownClassSnafu { class }.fail(),
        };
        let form = match form {
            0 => Form::Objects,
            1 => Form::Patches,
            _ => return ReservedSnafu.fail(),
        };
        ensure!(zero == 0, ReservedSnafu);
        let [raw_len, stored_len, count] = read_lengths(&lengths);
        ensure!(
            raw_len > 0 && raw_len as usize <= MAX_RAW,
            RawLenSnafu { raw_len }
        );
        let plausible = match codec {
            Codec::Raw => stored_len == raw_len,
            // A frame that saves nothing is stored raw, so no payload is longer than what it stands for.
            Codec::Zstd => stored_len > 0 && stored_len < raw_len,
        };
        ensure!(
            plausible,
            StoredLenSnafu {
                raw_len,
                stored_len
            }
        );
        ensure!(count > 0 && count <= MAX_COUNT, CountSnafu { count });
        Ok(Self {
            codec,
            class,
            form,
            raw_len,
            stored_len,
            count,
        })
    }

    /// Bytes of header and payload together.
    pub fn total_len(&self) -> usize {
        HEADER_LEN + self.stored_len as usize
    }
}

fn read_lengths(bytes: &[u8; 12]) -> [u32; 3] {
    [0, 4, 8].map(|at| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]))
}

/// Takes single blocks apart; keeps the inflating context between them.
pub struct BlockDecoder {
    inflater: zstd::bulk::Decompressor<'static>,
}

impl std::fmt::Debug for BlockDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockDecoder").finish_non_exhaustive()
    }
}

impl BlockDecoder {
    /// A decoder with a context of its own.
    pub fn new() -> Result<Self, PackError> {
        let inflater = zstd::bulk::Decompressor::new()
            .ok()
            .context(InflateSnafu { raw_len: 0u32 })?;
        Ok(Self { inflater })
    }

    /// Takes apart a stored block, which is here whole: header and payload, no more.
    /// At most [`MAX_RAW`] bytes are allocated for its objects, whatever it claims.
    ///
    /// # Errors
    ///
    /// Where anything is wrong with it; [`PackError::Stored`] where it has patches.
    pub fn decode(&mut self, stored: Bytes) -> Result<DecodedBlock, PackError> {
        let block = self.items(stored)?;
        ensure!(block.header.form == Form::Objects, StoredSnafu);
        Ok(block)
    }

    /// Takes apart a block of either form.
    fn items(&mut self, stored: Bytes) -> Result<DecodedBlock, PackError> {
        let header = stored.first_chunk().context(CutSnafu)?;
        let header = BlockHeader::decode(header)?;
        ensure!(stored.len() >= header.total_len(), CutSnafu);
        ensure!(stored.len() == header.total_len(), TrailingSnafu);
        let payload = stored.slice(HEADER_LEN..);
        let raw = match header.codec {
            Codec::Raw => payload,
            Codec::Zstd => self.inflate(&payload, header.raw_len)?,
        };
        let spans = spans(&raw, header.count)?;
        Ok(DecodedBlock {
            header,
            stored,
            raw,
            spans,
        })
    }

    fn inflate(&mut self, payload: &[u8], raw_len: u32) -> Result<Bytes, PackError> {
        // One frame: the library would go on into a second one.
        let frame = zstd::zstd_safe::find_frame_compressed_size(payload);
        ensure!(frame == Ok(payload.len()), InflateSnafu { raw_len });
        // The buffer is the bound: inflating stops where it is full.
        let mut raw = Vec::with_capacity(raw_len as usize);
        let inflated = self.inflater.decompress_to_buffer(payload, &mut raw);
        ensure!(
            inflated.is_ok_and(|len| len == raw_len as usize) && raw.len() == raw_len as usize,
            InflateSnafu { raw_len }
        );
        Ok(raw.into())
    }
}

/// Where `count` objects are in `raw`; they fill it exactly.
fn spans(raw: &[u8], count: u32) -> Result<Vec<Span>, PackError> {
    let mut reader = Reader::new(raw);
    let mut spans = Vec::with_capacity(count as usize);
    while !reader.is_empty() {
        ensure!(spans.len() < count as usize, CountSnafu { count });
        let object = reader.bytes(MAX_OBJECT).context(ObjectLenSnafu)?;
        ensure!(!object.is_empty(), ObjectLenSnafu);
        let start = raw.len() - reader.remaining() - object.len();
        spans.push(Span {
            start: narrow(start),
            len: narrow(object.len()),
        });
    }
    ensure!(spans.len() == count as usize, CountSnafu { count });
    Ok(spans)
}

/// What a decoder found next.
#[derive(Debug)]
pub enum Event {
    /// A complete block.
    Block(DecodedBlock),
    /// A complete block of patches.
    Patches(Patches),
    /// The end block: counts and digest fit. Nothing may follow.
    End {
        /// The digest at the end of the pack, which is its name.
        digest: Digest,
    },
}

/// Takes a pack apart as its bytes arrive: [`PackDecoder::push`] them, then call [`PackDecoder::next_event`] until it
/// wants more. Holds less than one stored block besides what was pushed last.
#[derive(Debug)]
pub struct PackDecoder {
    buffer: BytesMut,
    state: State,
    hasher: blake3::Hasher,
    objects: u32,
    blocks: BlockDecoder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Magic,
    Blocks,
    Ended,
}

impl PackDecoder {
    /// A decoder at the first byte.
    pub fn new() -> Result<Self, PackError> {
        Ok(Self {
            buffer: BytesMut::new(),
            state: State::Magic,
            hasher: blake3::Hasher::new(),
            objects: 0,
            blocks: BlockDecoder::new()?,
        })
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether [`PackDecoder::next_event`] has something to do, which may be much: a whole block, or the end.
    pub fn is_ready(&self) -> bool {
        match (self.state, self.buffer.first_chunk::<HEADER_LEN>()) {
            (State::Ended, _) => !self.buffer.is_empty(),
            (State::Magic, _) => self.buffer.len() >= MAGIC.len(),
            (State::Blocks, None) => false,
            (State::Blocks, Some([0, 0, ..])) => self.buffer.len() >= HEADER_LEN + Digest::LEN,
            (State::Blocks, Some(header)) => BlockHeader::decode(header)
                .map_or(true, |header| self.buffer.len() >= header.total_len()),
        }
    }

    /// The next event, `None` where more bytes are needed. After an error nothing more can be read.
    pub fn next_event(&mut self) -> Result<Option<Event>, PackError> {
        if self.state == State::Magic {
            let seen = self.buffer.len().min(MAGIC.len());
            ensure!(self.buffer[..seen] == MAGIC[..seen], MagicSnafu);
            if seen < MAGIC.len() {
                return Ok(None);
            }
            self.hasher.update(&self.buffer.split_to(MAGIC.len()));
            self.state = State::Blocks;
        }
        if self.state == State::Ended {
            ensure!(self.buffer.is_empty(), TrailingSnafu);
            return Ok(None);
        }
        let Some(header) = self.buffer.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        if header[..2] == [0, 0] {
            return self.end(*header);
        }
        let header = BlockHeader::decode(header)?;
        if self.buffer.len() < header.total_len() {
            // One allocation for the rest of the block rather than one for every push.
            self.buffer.reserve(header.total_len() - self.buffer.len());
            return Ok(None);
        }
        // A copy of its own size: whoever keeps the block keeps nothing of what came after it, and the buffer stays one.
        let stored = Bytes::copy_from_slice(&self.buffer[..header.total_len()]);
        self.buffer.advance(header.total_len());
        self.hasher.update(&stored);
        let block = self.blocks.items(stored)?;
        self.objects = self.objects.saturating_add(header.count);
        Ok(Some(match header.form {
            Form::Objects => Event::Block(block),
            Form::Patches => Event::Patches(Patches::decode(&block)?),
        }))
    }

    /// Call this at the end of the stream.
    ///
    /// # Errors
    ///
    /// [`PackError::Cut`] where the end block was not reached, [`PackError::Trailing`] where bytes follow it.
    pub fn finish(&self) -> Result<(), PackError> {
        ensure!(self.state == State::Ended, CutSnafu);
        ensure!(self.buffer.is_empty(), TrailingSnafu);
        Ok(())
    }

    fn end(&mut self, header: [u8; HEADER_LEN]) -> Result<Option<Event>, PackError> {
        let [_, _, zero1, zero2, lengths @ ..] = header;
        ensure!([zero1, zero2] == [0, 0], ReservedSnafu);
        let [raw_len, stored_len, count] = read_lengths(&lengths);
        let len = narrow(Digest::LEN);
        ensure!(
            [raw_len, stored_len, count] == [len, len, self.objects],
            EndSnafu
        );
        if self.buffer.len() < HEADER_LEN + Digest::LEN {
            return Ok(None);
        }
        let end = self.buffer.split_to(HEADER_LEN + Digest::LEN);
        let digest = *self.hasher.finalize().as_bytes();
        ensure!(end[HEADER_LEN..] == digest, DigestSnafu);
        self.state = State::Ended;
        ensure!(self.buffer.is_empty(), TrailingSnafu);
        Ok(Some(Event::End {
            digest: Digest::from_bytes(digest),
        }))
    }
}
