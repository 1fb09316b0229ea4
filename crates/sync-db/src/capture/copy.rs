//! What `COPY … (FORMAT binary)` sends, taken apart as it arrives.
//!
//! The format is that of PostgreSQL's manual, "COPY", "Binary Format". The server sends a row a message; nothing here relies
//! on that.

use std::ops::Range;

use snafu::Snafu;

/// How every stream starts.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// The signature, flags, and the length of an extension.
const HEADER: usize = SIGNATURE.len() + 8;

/// What was sent is not of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Snafu)]
#[snafu(display("the database sent what is no row"))]
pub(super) struct NoRow;

/// Where a value is in the bytes of its row; `None` where it is null.
pub(super) type Place = Option<Range<usize>>;

/// A row as it was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent<'r> {
    bytes: &'r [u8],
    places: &'r [Place],
}

impl<'r> Sent<'r> {
    /// The value of a column, by its place in the query.
    pub(super) fn get(&self, column: usize) -> Option<&'r [u8]> {
        let place = self.places.get(column)?.clone()?;
        self.bytes.get(place)
    }

    /// How many columns there are.
    pub(super) const fn len(&self) -> usize {
        self.places.len()
    }
}

/// Takes the stream apart. Holds at most one row, and only one that was cut.
#[derive(Debug, Default)]
pub(super) struct CopyReader {
    /// The start of a row whose rest has not come.
    cut: Vec<u8>,
    /// How many bytes that row has at least.
    needs: usize,
    at: At,
    places: Vec<Place>,
}

/// What comes next.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    #[default]
    Header,
    Rows,
    End,
}

/// What the first bytes are.
enum Next {
    /// Something of this many bytes that is no row.
    Passed(usize),
    /// A row of this many bytes.
    Row(usize),
    /// There have to be this many bytes at least to tell.
    Needs(usize),
}

impl CopyReader {
    /// Takes the next bytes of the stream, and hands every row that is whole to `each`.
    pub(super) fn feed<E: From<NoRow>>(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(Sent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.cut.is_empty() {
            let used = self.run(bytes, &mut each)?;
            self.cut.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        self.cut.extend_from_slice(bytes);
        // What a large value still lacks is not looked for with every message.
        if self.cut.len() < self.needs {
            return Ok(());
        }
        let mut held = std::mem::take(&mut self.cut);
        let used = self.run(&held, &mut each)?;
        held.drain(..used);
        self.cut = held;
        Ok(())
    }

    /// Whether the stream came to its end.
    pub(super) fn is_complete(&self) -> bool {
        self.at == At::End && self.cut.is_empty()
    }

    /// Returns how many of the bytes were used.
    fn run<E: From<NoRow>>(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(Sent<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            if rest.is_empty() {
                return Ok(used);
            }
            match self.next(rest)? {
                Next::Passed(length) => used += length,
                Next::Row(length) => {
                    each(Sent {
                        bytes: &rest[..length],
                        places: &self.places,
                    })?;
                    used += length;
                }
                Next::Needs(length) => {
                    self.needs = length;
                    return Ok(used);
                }
            }
        }
    }

    fn next(&mut self, bytes: &[u8]) -> Result<Next, NoRow> {
        match self.at {
            At::Header => {
                let Some(extension) = number(bytes, HEADER - 4) else {
                    return Ok(Next::Needs(HEADER));
                };
                let length = HEADER + usize::try_from(extension).map_err(|_| NoRow)?;
                if !bytes.starts_with(SIGNATURE) {
                    return Err(NoRow);
                }
                if bytes.len() < length {
                    return Ok(Next::Needs(length));
                }
                self.at = At::Rows;
                Ok(Next::Passed(length))
            }
            At::Rows => self.row(bytes),
            At::End => Err(NoRow),
        }
    }

    fn row(&mut self, bytes: &[u8]) -> Result<Next, NoRow> {
        let Some(count) = bytes.first_chunk().map(|two| i16::from_be_bytes(*two)) else {
            return Ok(Next::Needs(2));
        };
        if count == -1 {
            self.at = At::End;
            return Ok(Next::Passed(2));
        }
        self.places.clear();
        let mut at = 2;
        for _ in 0..count {
            let Some(length) = number(bytes, at) else {
                return Ok(Next::Needs(at + 4));
            };
            at += 4;
            if length == -1 {
                self.places.push(None);
                continue;
            }
            let end = at + usize::try_from(length).map_err(|_| NoRow)?;
            if bytes.len() < end {
                return Ok(Next::Needs(end));
            }
            self.places.push(Some(at..end));
            at = end;
        }
        if count < 0 {
            return Err(NoRow);
        }
        Ok(Next::Row(at))
    }
}

fn number(bytes: &[u8], at: usize) -> Option<i32> {
    let four = bytes.get(at..)?.first_chunk()?;
    Some(i32::from_be_bytes(*four))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Rows = Vec<Vec<Option<Vec<u8>>>>;

    fn stream(rows: &Rows) -> Vec<u8> {
        let mut bytes = [SIGNATURE, &[0; 4], &3i32.to_be_bytes(), b"ext"].concat();
        for row in rows {
            bytes.extend(i16::try_from(row.len()).unwrap().to_be_bytes());
            for cell in row {
                match cell {
                    None => bytes.extend((-1i32).to_be_bytes()),
                    Some(value) => {
                        bytes.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
                        bytes.extend(value);
                    }
                }
            }
        }
        bytes.extend((-1i16).to_be_bytes());
        bytes
    }

    fn read(messages: impl IntoIterator<Item = Vec<u8>>) -> Result<(Rows, bool), NoRow> {
        let mut reader = CopyReader::default();
        let mut rows = Vec::new();
        for message in messages {
            reader.feed(&message, |sent| {
                let cells = (0..sent.len()).map(|column| sent.get(column).map(<[u8]>::to_vec));
                rows.push(cells.collect());
                Ok::<_, NoRow>(())
            })?;
        }
        Ok((rows, reader.is_complete()))
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_messages_end(
            rows: Vec<Vec<Option<Vec<u8>>>>,
            lengths in prop::collection::vec(1usize..40, 0..60),
        ) {
            let mut rest = stream(&rows);
            let mut messages = Vec::new();
            for length in lengths {
                let tail = rest.split_off(length.min(rest.len()));
                messages.push(std::mem::replace(&mut rest, tail));
            }
            messages.push(rest);
            prop_assert_eq!(read(messages), Ok((rows, true)));
        }

        #[test]
        fn other_bytes_are_refused_and_never_more(bytes: Vec<u8>) {
            let _ = read([bytes.clone()]);
            let _ = read([stream(&Vec::new())[..HEADER + 3].to_vec(), bytes]);
        }
    }

    #[test]
    fn a_stream_that_is_cut_is_not_complete() {
        let whole = stream(&vec![vec![Some(b"abc".to_vec()), None]]);
        for length in 0..whole.len() {
            assert!(matches!(read([whole[..length].to_vec()]), Ok((_, false))));
        }
        let mut wrong = whole.clone();
        wrong[0] ^= 1;
        assert_eq!(read([wrong]), Err(NoRow));
        assert_eq!(read([whole.clone(), vec![0]]), Err(NoRow));
    }
}
