//! The payload: chunks that are sealed one by one, each with its number, and the last one with a mark.

use std::io::{self, Read, Write};

use ring::aead::{Aad, LessSafeKey, Nonce};

use super::{broken, malformed};

/// The bytes of a chunk.
const CHUNK: usize = 64 << 10;
/// The bytes that vouch for one.
const TAG: usize = 16;

fn nonce(number: u64, is_last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&number.to_be_bytes());
    nonce[11] = u8::from(is_last);
    Nonce::assume_unique_for_key(nonce)
}

/// Encrypts what is written.
pub struct Encrypting<W> {
    file: W,
    key: LessSafeKey,
    number: u64,
    chunk: Vec<u8>,
}

impl<W> std::fmt::Debug for Encrypting<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encrypting").finish_non_exhaustive()
    }
}

impl<W: Write> Encrypting<W> {
    pub(super) fn new(file: W, key: LessSafeKey) -> Self {
        let chunk = Vec::with_capacity(CHUNK + TAG);
        Self {
            file,
            key,
            number: 0,
            chunk,
        }
    }

    /// Writes the last chunk. A file without it is refused.
    pub fn finish(mut self) -> io::Result<W> {
        self.seal(true)?;
        Ok(self.file)
    }

    fn seal(&mut self, is_last: bool) -> io::Result<()> {
        let nonce = nonce(self.number, is_last);
        let sealed = self
            .key
            .seal_in_place_append_tag(nonce, Aad::empty(), &mut self.chunk);
        sealed.map_err(|_| broken())?;
        self.file.write_all(&self.chunk)?;
        self.chunk.clear();
        self.number += 1;
        Ok(())
    }
}

impl<W: Write> Write for Encrypting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk waits: it may be the last.
        if self.chunk.len() == CHUNK && !bytes.is_empty() {
            self.seal(false)?;
        }
        let count = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        // What waits is not a chunk yet.
        self.file.flush()
    }
}

/// Decrypts what is read; bytes come out when their chunk was found right.
pub struct Decrypting<R> {
    file: R,
    key: LessSafeKey,
    number: u64,
    chunk: Vec<u8>,
    /// How many bytes of the chunk were handed out, and how many it has.
    taken: usize,
    len: usize,
    /// The first byte of the next chunk.
    next: Option<u8>,
    is_over: bool,
}

impl<R> std::fmt::Debug for Decrypting<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decrypting").finish_non_exhaustive()
    }
}

impl<R: Read> Decrypting<R> {
    pub(super) fn new(file: R, key: LessSafeKey) -> Self {
        Self {
            file,
            key,
            number: 0,
            chunk: Vec::with_capacity(CHUNK + TAG),
            taken: 0,
            len: 0,
            next: None,
            is_over: false,
        }
    }

    fn open(&mut self) -> io::Result<()> {
        self.chunk.clear();
        self.chunk.extend(self.next.take());
        let left = CHUNK + TAG - self.chunk.len();
        let most = u64::try_from(left).unwrap_or(u64::MAX);
        self.file.by_ref().take(most).read_to_end(&mut self.chunk)?;
        if self.chunk.len() == CHUNK + TAG {
            let mut byte = [0];
            if self.file.read(&mut byte)? == 1 {
                self.next = Some(byte[0]);
            }
        }
        let is_last = self.next.is_none();
        if self.chunk.len() < TAG {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let nonce = nonce(self.number, is_last);
        let opened = self.key.open_in_place(nonce, Aad::empty(), &mut self.chunk);
        self.len = opened.map_err(|_| malformed())?.len();
        // Only a file of nothing ends in a chunk of nothing.
        if self.len == 0 && self.number > 0 {
            return Err(malformed());
        }
        self.taken = 0;
        self.number += 1;
        self.is_over = is_last;
        Ok(())
    }
}

impl<R: Read> Read for Decrypting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.len {
            if self.is_over {
                return Ok(0);
            }
            self.open()?;
        }
        let count = buffer.len().min(self.len - self.taken);
        buffer[..count].copy_from_slice(&self.chunk[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}
