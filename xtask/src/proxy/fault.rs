//! What a proxy can do to what passes.

use std::io::{self, Write};

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From clients to the target.
    Up,
    /// From the target to clients.
    Down,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// The connection ends there, as if the sender had closed it.
    Truncate,
    /// The connection is reset there.
    Reset,
    /// Nothing more comes, and the connection stays.
    Stall,
    /// What follows comes twice.
    Duplicate,
    /// A bit is turned over.
    Corrupt,
}

/// What is done, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(super) direction: Direction,
    /// The first byte that it befalls.
    pub(super) at_bytes: u64,
    pub(super) how: How,
}

/// Takes the fault that befalls the last `length` of `total` bytes, with where it does.
pub(super) fn due(
    fault: &mut Option<Fault>,
    direction: Direction,
    total: u64,
    length: usize,
) -> Option<(How, usize)> {
    let found = fault.take_if(|fault| fault.direction == direction && fault.at_bytes < total)?;
    // What passed before somebody asked for the fault is over: then it befalls the first byte.
    let from = total - length as u64;
    let at = usize::try_from(found.at_bytes.saturating_sub(from)).unwrap_or_default();
    Some((found.how, at))
}

/// Writes what is left of bytes that a fault befalls.
pub(super) fn write(to: &mut impl Write, bytes: &mut [u8], at: usize, how: How) -> io::Result<()> {
    match how {
        How::Truncate | How::Reset | How::Stall => to.write_all(&bytes[..at]),
        How::Duplicate => {
            to.write_all(bytes)?;
            to.write_all(&bytes[at..])
        }
        How::Corrupt => {
            bytes[at] ^= 0x10;
            to.write_all(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(how: How, expected: &str) {
        let mut fault = Some(Fault {
            direction: Direction::Up,
            at_bytes: 12,
            how,
        });
        assert_eq!(due(&mut fault, Direction::Down, 100, 100), None);
        assert_eq!(due(&mut fault, Direction::Up, 10, 10), None);
        let (how, at) = due(&mut fault, Direction::Up, 15, 5).unwrap();
        assert!(fault.is_none(), "it happens once");
        let mut passed = Vec::new();
        write(&mut passed, &mut b"abcde".to_owned(), at, how).unwrap();
        assert_eq!(String::from_utf8(passed).unwrap(), expected);
    }

    #[test]
    fn faults_befall_the_byte_they_are_for() {
        check(How::Truncate, "ab");
        check(How::Reset, "ab");
        check(How::Stall, "ab");
        check(How::Duplicate, "abcdecde");
        check(How::Corrupt, "absde");
    }
}
