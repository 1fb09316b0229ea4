//! What the fuzz target of `COPY` reaches and nobody else.
//!
//! It exists only where `cargo fuzz` builds, which sets `cfg(fuzzing)`.

use super::copy::{CopyReader, NoRow, Sent};

/// The values of a row.
pub type Values = Vec<Option<Vec<u8>>>;

/// Reads a stream that comes in pieces of so many bytes: its rows up to where it is none, and whether it came to its end;
/// `None` where it is no stream of rows.
pub fn copy(stream: &[u8], piece: usize) -> (Vec<Values>, Option<bool>) {
    let (mut reader, mut rows) = (CopyReader::default(), Vec::new());
    for piece in stream.chunks(piece.max(1)) {
        let fed = reader.feed(piece, |sent: Sent<'_>| {
            let values = (0..sent.len()).map(|column| sent.get(column).map(<[u8]>::to_vec));
            rows.push(values.collect());
            Ok::<(), NoRow>(())
        });
        if fed.is_err() {
            return (rows, None);
        }
    }
    (rows, Some(reader.is_complete()))
}
