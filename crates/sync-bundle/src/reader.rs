//! The bytes of a tar into what is in it, as far as that is known: nothing is lenient, and nothing is held but small members.

use bytes::{Buf, Bytes, BytesMut};
use snafu::{OptionExt, ensure};
use sync_core::Digest;

use crate::Error;
use crate::error::{DigestSnafu, NotABundleSnafu, OrderSnafu, TrailingSnafu, TruncatedSnafu};
use crate::manifest::{self, KEY, MANIFEST, MAX_KEY, MAX_MANIFEST, Manifest, SIGNATURE, Signer};
use crate::tar::{self, BLOCK, END};

/// The bytes of a signature.
const SIGNATURE_LEN: u64 = 128;

/// How a bundle begins: what is in it, and who says so.
#[derive(Debug, Clone)]
pub struct Opening {
    /// What is in it.
    pub manifest: Manifest,
    /// Who signed, the signature checked; `None` where nobody did.
    pub signer: Option<Signer>,
    /// The bytes of all of this in the tar.
    pub bytes: Bytes,
}

/// What is read next.
#[derive(Debug)]
pub enum Event {
    /// Manifest and signature were read and are right.
    Opening(Box<Opening>),
    /// The member of this number in the manifest begins.
    Begin(usize),
    /// Bytes of it.
    Piece(Bytes),
    /// All of its bytes came, and they are those that the manifest names.
    End,
    /// The archive is at its end.
    Done,
}

/// Reads a tar that comes in pieces. After an error or [`Event::Done`] nothing more is to be asked.
#[derive(Debug)]
pub struct Reader {
    buffer: BytesMut,
    state: State,
    seconds: u64,
    /// Manifest and what follows, as it came.
    opening: BytesMut,
    manifest: Option<(Manifest, Bytes)>,
    signature: Bytes,
    /// The members, once the manifest was read.
    members: Vec<manifest::Member>,
    next: usize,
    hasher: blake3::Hasher,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Manifest,
    /// The manifest was read, and is this long.
    Body(u64),
    Signature,
    Key,
    /// The bytes of the signer that are expected.
    Signer(u64),
    Header,
    /// So many bytes of the member are still to come, and so many zeros behind them.
    Inside(u64, usize),
    Padding(usize),
    End,
    Done,
}

/// What came of a step.
enum Step {
    /// It was done, and says nothing.
    Done,
    /// It wants more bytes.
    Wants,
    /// It has read something.
    Read(Event),
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            buffer: BytesMut::new(),
            state: State::Manifest,
            seconds: 0,
            opening: BytesMut::new(),
            manifest: None,
            signature: Bytes::new(),
            members: Vec::new(),
            next: 0,
            hasher: blake3::Hasher::new(),
        }
    }
}

impl Reader {
    /// Takes the next bytes of the tar.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// What is read next; `None` where more bytes are needed for that.
    ///
    /// # Errors
    ///
    /// Why this is no bundle. What came before is as it was told.
    pub fn next_event(&mut self) -> Result<Option<Event>, Error> {
        loop {
            let step = match self.state {
                State::Header
                | State::Inside(..)
                | State::Padding(_)
                | State::End
                | State::Done => self.go_on()?,
                _ => self.begin()?,
            };
            match step {
                Step::Done => {}
                Step::Wants => return Ok(None),
                Step::Read(event) => return Ok(Some(event)),
            }
        }
    }

    /// A step through manifest, signature and key.
    fn begin(&mut self) -> Result<Step, Error> {
        match self.state {
            State::Body(len) => {
                let Some(bytes) = self.small(MANIFEST, len)? else {
                    return Ok(Step::Wants);
                };
                let manifest = Manifest::decode(&bytes)?;
                if manifest.created_at / 1000 != self.seconds {
                    let reason = "its time is not that of the archive";
                    return Err(Error::malformed(MANIFEST, reason));
                }
                let is_signed = manifest.source.public_key.is_some();
                self.manifest = Some((manifest, bytes));
                if !is_signed {
                    return self.opened(None).map(Step::Read);
                }
                self.state = State::Signature;
            }
            State::Signature => {
                let whole = BLOCK as u64 + SIGNATURE_LEN;
                if (self.buffer.len() as u64) < whole + tar::padding(SIGNATURE_LEN) as u64 {
                    return Ok(Step::Wants);
                }
                let header = tar::header(SIGNATURE, SIGNATURE_LEN, self.seconds);
                let expected = SIGNATURE;
                ensure!(self.block() == Some(header), OrderSnafu { expected });
                let signature = self.small(SIGNATURE, SIGNATURE_LEN)?;
                self.signature = signature.unwrap_or_default();
                self.state = State::Key;
            }
            State::Key => {
                let Some(block) = self.block() else {
                    return Ok(Step::Wants);
                };
                let parsed = tar::parse(KEY, &block);
                let (len, _) = parsed
                    .filter(|(len, seconds)| *len <= MAX_KEY && *seconds == self.seconds)
                    .context(OrderSnafu { expected: KEY })?;
                self.state = State::Signer(len);
            }
            State::Signer(len) => {
                let Some(bytes) = self.small(KEY, len)? else {
                    return Ok(Step::Wants);
                };
                let signer: Signer = manifest::decode(KEY, &bytes)?;
                if let Some((manifest, bytes)) = &self.manifest {
                    manifest::verify(manifest, bytes, &self.signature, &signer)?;
                }
                return self.opened(Some(signer)).map(Step::Read);
            }
            _ => {
                let Some(block) = self.block() else {
                    return Ok(Step::Wants);
                };
                let parsed = tar::parse(MANIFEST, &block);
                let reason = "it does not begin with a manifest";
                let (len, seconds) = parsed.context(NotABundleSnafu { reason })?;
                let reason = "its manifest is longer than any";
                ensure!(len <= MAX_MANIFEST, NotABundleSnafu { reason });
                self.seconds = seconds;
                self.state = State::Body(len);
            }
        }
        Ok(Step::Done)
    }

    /// A step through the members.
    fn go_on(&mut self) -> Result<Step, Error> {
        match self.state {
            State::Inside(0, padding) => self.state = State::Padding(padding),
            State::Inside(left, padding) => {
                if self.buffer.is_empty() {
                    return Ok(Step::Wants);
                }
                let most = usize::try_from(left).unwrap_or(usize::MAX);
                let piece = self.buffer.split_to(most.min(self.buffer.len())).freeze();
                self.hasher.update(&piece);
                self.state = State::Inside(left - piece.len() as u64, padding);
                return Ok(Step::Read(Event::Piece(piece)));
            }
            State::Padding(padding) => {
                if self.buffer.len() < padding {
                    return Ok(Step::Wants);
                }
                let zeros = self.buffer.split_to(padding);
                let found = Digest::from_bytes(*self.hasher.finalize().as_bytes());
                let member = &self.members[self.next];
                let is_right = found == member.digest && zeros.iter().all(|zero| *zero == 0);
                let member = &member.path;
                ensure!(is_right, DigestSnafu { member });
                self.next += 1;
                self.state = State::Header;
                return Ok(Step::Read(Event::End));
            }
            State::End => {
                if self.buffer.len() < END.len() {
                    return Ok(Step::Wants);
                }
                let end = self.buffer.split_to(END.len());
                ensure!(end[..] == END, TrailingSnafu);
                self.state = State::Done;
                return Ok(Step::Read(Event::Done));
            }
            State::Done => {
                ensure!(self.buffer.is_empty(), TrailingSnafu);
                return Ok(Step::Wants);
            }
            _ => {
                let Some(member) = self.members.get(self.next) else {
                    self.state = State::End;
                    return Ok(Step::Done);
                };
                let header = tar::header(&member.path, member.length, self.seconds);
                let (expected, length) = (member.path.clone(), member.length);
                let Some(block) = self.block() else {
                    return Ok(Step::Wants);
                };
                ensure!(block == header, OrderSnafu { expected });
                self.hasher = blake3::Hasher::new();
                self.state = State::Inside(length, tar::padding(length));
                return Ok(Step::Read(Event::Begin(self.next)));
            }
        }
        Ok(Step::Done)
    }

    /// The bytes have come to their end.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`] where the bundle has not, [`Error::Trailing`] where there are more.
    pub fn finish(&self) -> Result<(), Error> {
        let member = match self.state {
            State::Done => {
                ensure!(self.buffer.is_empty(), TrailingSnafu);
                return Ok(());
            }
            State::Manifest if self.buffer.is_empty() => {
                let reason = "it is empty";
                return NotABundleSnafu { reason }.fail();
            }
            State::Manifest | State::Body(_) => MANIFEST,
            State::Signature => SIGNATURE,
            State::Key | State::Signer(_) => KEY,
            _ => {
                let member = self.members.get(self.next);
                member.map_or("its end", |member| &member.path)
            }
        };
        TruncatedSnafu { member }.fail()
    }

    fn opened(&mut self, signer: Option<Signer>) -> Result<Event, Error> {
        let reason = "it does not begin with a manifest";
        let (manifest, _) = self.manifest.take().context(NotABundleSnafu { reason })?;
        self.members.clone_from(&manifest.members);
        self.state = State::Header;
        Ok(Event::Opening(Box::new(Opening {
            manifest,
            signer,
            bytes: std::mem::take(&mut self.opening).freeze(),
        })))
    }

    /// The next block.
    fn block(&mut self) -> Option<[u8; BLOCK]> {
        let block = *self.buffer.first_chunk::<BLOCK>()?;
        self.buffer.advance(BLOCK);
        if self.members.is_empty() {
            self.opening.extend_from_slice(&block);
        }
        Some(block)
    }

    /// A member that is held whole, with the zeros behind it.
    fn small(&mut self, member: &str, len: u64) -> Result<Option<Bytes>, Error> {
        let padding = tar::padding(len);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if self.buffer.len() < len.saturating_add(padding) {
            return Ok(None);
        }
        let whole = self.buffer.split_to(len + padding).freeze();
        self.opening.extend_from_slice(&whole);
        let (bytes, zeros) = (whole.slice(..len), &whole[len..]);
        ensure!(zeros.iter().all(|zero| *zero == 0), DigestSnafu { member });
        Ok(Some(bytes))
    }
}
