//! What is around the tar in a file: one zstd frame, or nothing, and around that [`age`], or nothing. Blocking.

use std::io::{self, BufRead, BufReader, Read, Write};

use snafu::{ResultExt, ensure};

use crate::Error;
use crate::age::{self, Encrypting, Recipient, Secret};
use crate::error::{BombSnafu, EncryptedSnafu, TrailingSnafu, WrappingSnafu};

/// The zstd level of a file: packs are compressed already, so a higher one gains nothing.
const LEVEL: i32 = 3;
/// The largest window of a frame that is read, as a power of two: 8 MiB.
const WINDOW_LOG: u32 = 23;
/// What a zstd frame begins with.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// How many times its bytes a file may inflate to.
const RATIO: u64 = 200;
/// What it may inflate to whatever the ratio: 1 GiB.
const FREE: u64 = 1 << 30;

/// What is around the tar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wrap {
    /// Nothing.
    Tar,
    /// One zstd frame.
    #[default]
    Zstd,
}

/// Writes a file.
pub struct FileWriter<W: Write>(Wrapped<Outer<W>>);

enum Wrapped<W: Write> {
    Tar(W),
    Zstd(Box<zstd::stream::write::Encoder<'static, W>>),
}

/// What is written to.
enum Outer<W> {
    Open(W),
    Encrypted(Box<Encrypting<W>>),
}

impl<W: Write> Write for Outer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Open(file) => file.write(bytes),
            Self::Encrypted(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Open(file) => file.flush(),
            Self::Encrypted(file) => file.flush(),
        }
    }
}

impl<W: Write> std::fmt::Debug for FileWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileWriter").finish_non_exhaustive()
    }
}

impl<W: Write> FileWriter<W> {
    /// Begins a file, for chosen readers where there are any.
    pub fn new(file: W, wrap: Wrap, recipients: &[Recipient]) -> io::Result<Self> {
        let file = match recipients {
            [] => Outer::Open(file),
            _ => Outer::Encrypted(Box::new(age::encrypt(file, recipients)?)),
        };
        Ok(Self(match wrap {
            Wrap::Tar => Wrapped::Tar(file),
            Wrap::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(file, LEVEL)?;
                encoder.include_checksum(true)?;
                Wrapped::Zstd(Box::new(encoder))
            }
        }))
    }

    /// The next bytes of the tar.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Wrapped::Tar(file) => file.write_all(bytes),
            Wrapped::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    /// Ends what is around the tar; the file is not synced.
    pub fn finish(self) -> io::Result<W> {
        let outer = match self.0 {
            Wrapped::Tar(file) => file,
            Wrapped::Zstd(encoder) => encoder.finish()?,
        };
        match outer {
            Outer::Open(file) => Ok(file),
            Outer::Encrypted(file) => file.finish(),
        }
    }
}

/// Counts what is read.
#[derive(Debug)]
struct Counted<R> {
    file: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

/// What is inside of a file that may be encrypted.
///
/// # Errors
///
/// [`Error::Encrypted`] where none of `secrets` opens it, [`Error::Wrapping`], [`Error::Truncated`].
pub fn open<'f>(
    file: impl Read + Send + 'f,
    secrets: &[Secret],
) -> Result<FileReader<Box<dyn Read + Send + 'f>>, Error> {
    let mut file = BufReader::new(file);
    let is_encrypted = file
        .fill_buf()
        .context(WrappingSnafu)?
        .starts_with(age::MAGIC);
    if !is_encrypted {
        return FileReader::new(Box::new(file));
    }
    let tried = !secrets.is_empty();
    match age::decrypt(file, secrets) {
        Ok(Some(file)) => FileReader::new(Box::new(file)),
        Ok(None) => EncryptedSnafu { tried }.fail(),
        Err(error) => Err(said(error)),
    }
}

/// What reading came to.
fn said(source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::UnexpectedEof => Error::Truncated {
            member: "the file".to_owned(),
        },
        _ => Error::Wrapping { source },
    }
}

/// The tar of a file, whatever is around it.
pub struct FileReader<R: Read> {
    inner: Unwrapped<R>,
    inflated: u64,
}

type Decoder<R> = zstd::stream::read::Decoder<'static, BufReader<Counted<R>>>;

enum Unwrapped<R: Read> {
    Tar(BufReader<Counted<R>>),
    Zstd(Box<Decoder<R>>),
}

impl<R: Read> std::fmt::Debug for FileReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileReader").finish_non_exhaustive()
    }
}

impl<R: Read> FileReader<R> {
    /// Looks at how the file begins.
    ///
    /// # Errors
    ///
    /// [`Error::Wrapping`].
    pub fn new(file: R) -> Result<Self, Error> {
        let mut file = BufReader::new(Counted { file, bytes: 0 });
        let is_zstd = file.fill_buf().map_err(said)?.starts_with(&ZSTD);
        let inner = if is_zstd {
            let decoder = zstd::stream::read::Decoder::with_buffer(file);
            let mut decoder = decoder.context(WrappingSnafu)?.single_frame();
            decoder.window_log_max(WINDOW_LOG).context(WrappingSnafu)?;
            Unwrapped::Zstd(Box::new(decoder))
        } else {
            Unwrapped::Tar(file)
        };
        Ok(Self { inner, inflated: 0 })
    }

    /// The next bytes of the tar; 0 at its end.
    ///
    /// # Errors
    ///
    /// [`Error::Bomb`], [`Error::Truncated`], [`Error::Trailing`], [`Error::Wrapping`].
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let decoder = match &mut self.inner {
            Unwrapped::Tar(file) => return file.read(buffer).map_err(said),
            Unwrapped::Zstd(decoder) => decoder,
        };
        let count = match decoder.read(buffer) {
            Ok(count) => count,
            // The library says so of a frame whose window is larger than allowed.
            Err(error) if error.to_string().contains("too much memory") => return BombSnafu.fail(),
            Err(error) => return Err(said(error)),
        };
        self.inflated += count as u64;
        let taken = decoder.get_ref().get_ref().bytes;
        ensure!(
            self.inflated <= FREE.max(taken.saturating_mul(RATIO)),
            BombSnafu
        );
        if count == 0 && !buffer.is_empty() {
            let rest = decoder.get_mut().fill_buf().map_err(said)?;
            ensure!(rest.is_empty(), TrailingSnafu);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use sync_core::Fault;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let mut reader = FileReader::new(bytes)?;
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(all),
                count => all.extend_from_slice(&buffer[..count]),
            }
        }
    }

    fn written(bytes: &[u8], wrap: Wrap) -> Vec<u8> {
        let mut writer = FileWriter::new(Vec::new(), wrap, &[]).unwrap();
        writer.write(bytes).unwrap();
        writer.finish().unwrap()
    }

    #[track_caller]
    fn refused(bytes: &[u8], code: &str) {
        assert_eq!(read(bytes).map_err(|error| error.code()), Err(code));
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = vec![7; 100_000];
        for wrap in [Wrap::Tar, Wrap::Zstd] {
            assert_eq!(read(&written(&bytes, wrap)).unwrap(), bytes, "{wrap:?}");
        }
    }

    #[test]
    fn a_frame_that_is_not_one_is_refused() {
        let file = written(&vec![7; 100_000], Wrap::Zstd);
        refused(&file[..file.len() - 1], "bundle/truncated");
        refused(&[&file[..], b"x"].concat(), "bundle/trailing");
        refused(&[&file[..], &file[..]].concat(), "bundle/trailing");
        let mut flipped = file.clone();
        let last = flipped.len() - 1;
        flipped[last] ^= 1;
        refused(&flipped, "bundle/wrapping");
        // A window of 2 GiB: magic, no flags, the window, and an empty last block.
        refused(&[&ZSTD[..], &[0, 21 << 3, 1, 0, 0]].concat(), "bundle/bomb");
    }
}
