//! How the bytes of a file, or of a large value in a row, are cut into chunks: part of the format, so there is one place
//! that does it.

use std::cell::RefCell;

use fastcdc::v2020::FastCDC;

/// The shortest chunk of a file that is cut, but for its last.
pub const CHUNK_MIN: usize = 16 * 1024;
/// The size that chunks are near to.
pub const CHUNK_AVERAGE: usize = 64 * 1024;
/// The longest chunk; a file that is no longer is a single chunk.
pub const CHUNK_MAX: usize = 256 * 1024;

/// How many bytes a thread reads ahead.
const BUFFER: usize = 1024 * 1024;

thread_local! {
    /// One buffer for all files that a thread cuts.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Hands the chunks of what `read` gives to `each`, in order, as a capture cuts a file of the same bytes.
///
/// `read` fills the start of what it is given and says how far; 0 is the end. `size` is how many bytes are expected: another
/// number is no error, and changes no cut. At most 1 MiB is in memory.
///
/// # Errors
///
/// Whatever `read` or `each` says first; chunks before that were handed out.
///
/// # Panics
///
/// Where `read` or `each` cuts something itself.
pub fn cut<E>(
    size: u64,
    mut read: impl FnMut(&mut [u8]) -> Result<usize, E>,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    SCRATCH.with_borrow_mut(|buffer| {
        if buffer.is_empty() {
            buffer.resize(BUFFER, 0);
        }
        // One byte more than expected shows that a small file has grown, without a second read to find the end.
        let expected =
            usize::try_from(size).map_or(BUFFER, |size| size.saturating_add(1).min(BUFFER));
        let mut filled = fill(&mut read, &mut buffer[..expected])?;
        if filled == expected {
            filled += fill(&mut read, &mut buffer[filled..])?;
        }
        if filled <= CHUNK_MAX {
            return if filled > 0 {
                each(&buffer[..filled])
            } else {
                Ok(())
            };
        }
        loop {
            let at_end = filled < buffer.len();
            let used = cut_ahead(&buffer[..filled], at_end, &mut each)?;
            if at_end {
                return Ok(());
            }
            buffer.copy_within(used..filled, 0);
            filled -= used;
            filled += fill(&mut read, &mut buffer[filled..])?;
        }
    })
}

/// Cuts what can be cut without knowing what follows, and returns how much that was.
fn cut_ahead<E>(
    bytes: &[u8],
    at_end: bool,
    each: &mut impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<usize, E> {
    let chunker = FastCDC::new(bytes, CHUNK_MIN, CHUNK_AVERAGE, CHUNK_MAX);
    let mut start = 0;
    while start < bytes.len() && (at_end || bytes.len() - start >= CHUNK_MAX) {
        let (_, end) = chunker.cut(start, bytes.len() - start);
        each(&bytes[start..end])?;
        start = end;
    }
    Ok(start)
}

/// Reads until `buffer` is full or there is no more.
fn fill<E>(
    read: &mut impl FnMut(&mut [u8]) -> Result<usize, E>,
    buffer: &mut [u8],
) -> Result<usize, E> {
    let mut filled = 0;
    while filled < buffer.len() {
        match read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[4]
            })
            .collect()
    }

    /// The lengths of the chunks when the file is read in pieces; the bytes must be all there.
    fn lengths(bytes: &[u8], size: u64) -> Vec<usize> {
        // Reads come as short as a network's.
        let mut rest = bytes;
        let read = |buffer: &mut [u8]| {
            let len = rest.len().min(buffer.len()).min(70_001);
            let (now, later) = rest.split_at(len);
            buffer[..len].copy_from_slice(now);
            rest = later;
            Ok::<_, std::convert::Infallible>(len)
        };
        let (mut lengths, mut all) = (Vec::new(), Vec::new());
        let each = |chunk: &[u8]| {
            lengths.push(chunk.len());
            all.extend_from_slice(chunk);
            Ok(())
        };
        let Ok(()) = cut(size, read, each);
        assert!(all == bytes);
        lengths
    }

    /// What cutting the whole file in memory gives.
    fn at_once(bytes: &[u8]) -> Vec<usize> {
        if bytes.len() <= CHUNK_MAX {
            return Vec::from_iter((!bytes.is_empty()).then_some(bytes.len()));
        }
        FastCDC::new(bytes, CHUNK_MIN, CHUNK_AVERAGE, CHUNK_MAX)
            .map(|chunk| chunk.length)
            .collect()
    }

    #[test]
    fn boundaries_do_not_depend_on_the_buffer() {
        for len in [
            0,
            1,
            CHUNK_MAX,
            CHUNK_MAX + 1,
            BUFFER - 1,
            BUFFER,
            BUFFER + 1,
            5 * BUFFER + 12345,
        ] {
            let bytes = noise(len);
            assert_eq!(lengths(&bytes, len as u64), at_once(&bytes), "{len}");
        }
        let zeros = vec![0; 3 * BUFFER];
        assert_eq!(lengths(&zeros, zeros.len() as u64), at_once(&zeros));
    }

    /// The cuts are part of the format: other boundaries would name other chunks.
    #[test]
    fn boundaries_are_stable() {
        let lengths = at_once(&noise(1 << 20));
        assert_eq!(lengths.iter().sum::<usize>(), 1 << 20);
        assert_eq!(lengths, BOUNDARIES);
    }

    const BOUNDARIES: &[usize] = &[
        71088, 66480, 100_652, 128_639, 102_442, 92174, 121_669, 113_315, 77339, 74154, 100_624,
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// The file may have grown or shrunk since its size was asked.
        #[test]
        fn a_wrong_size_changes_nothing(len in 0usize..700_000, claimed in 0u64..3_000_000) {
            let bytes = noise(len);
            prop_assert_eq!(lengths(&bytes, claimed), at_once(&bytes));
        }
    }

    #[test]
    fn the_first_error_ends_it() {
        let mut handed = 0;
        let stop = cut(
            0,
            |buffer| Ok(buffer.len()),
            |_| {
                handed += 1;
                if handed == 3 { Err("enough") } else { Ok(()) }
            },
        );
        assert_eq!((stop, handed), (Err("enough"), 3));
        assert_eq!(cut(9, |_| Err("broken"), |_| Ok(())), Err("broken"));
    }
}
