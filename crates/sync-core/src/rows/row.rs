//! A row as bytes: its columns by name, in the order of their names, those that are null left out.

use bytes::Bytes;
use snafu::{OptionExt, Snafu, ensure};

use crate::content::decode_list;
use crate::cut::cut;
use crate::map::{NodeSink, NodeSource, StoreError};
use crate::wire::{Reader, put_bytes, put_varint};
use crate::{Chunk, Content, Digest};

/// A longer value of a column is an object of its own.
pub const MAX_CELL: usize = 2048;
/// A row that is longer than this, its large values left out, is an object of its own.
pub const MAX_ROW: usize = 8 * 1024;
/// The longest row that is an object of its own, its large values left out: more than the 1,600 columns that PostgreSQL
/// allows can have. Who reads a row has it in memory whole.
pub const MAX_STORED_ROW: usize = 4 << 20;
/// The longest name of a column in bytes; PostgreSQL's is 63.
const MAX_NAME: usize = 255;

/// First byte of a row.
const ROW: u8 = 0;
/// First byte of a row that is an object of its own.
const STORED: u8 = 1;
/// In place of a length: the value is an object of its own.
const STORED_CELL: u64 = 1;

/// The value of a column that is not null.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Cell<'r> {
    /// The bytes themselves, at most [`MAX_CELL`].
    Inline(&'r [u8]),
    /// What names them, where they are more.
    Stored(Content),
}

impl Cell<'_> {
    /// How many bytes the value has.
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Stored(content) => content.len().unwrap_or(u64::MAX),
        }
    }

    /// Whether the value has no bytes, as an empty text has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A row: columns by name.
///
/// **Invariant:** the bytes are the one encoding of what they say: names rise, every value is inline exactly when it is short.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Row {
    bytes: Bytes,
}

impl Row {
    /// Reads the encoding of a row; anything else is `None`.
    pub fn decode(bytes: impl Into<Bytes>) -> Option<Self> {
        let bytes = bytes.into();
        let mut reader = Reader::new(&bytes);
        if reader.byte()? != ROW {
            return None;
        }
        let mut last: Option<&str> = None;
        while !reader.is_empty() {
            let (name, cell) = read_cell(&mut reader)?;
            let is_stored = matches!(cell, Cell::Stored(_));
            if last.is_some_and(|last| last >= name) || is_stored != (cell.len() > MAX_CELL as u64)
            {
                return None;
            }
            if let Cell::Stored(content) = &cell {
                content.len()?;
            }
            last = Some(name);
        }
        Some(Self { bytes })
    }

    /// The encoding.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The value in a map of rows, with the row stored in `objects` where it is long.
    pub fn value(&self, objects: &mut (impl NodeSink + ?Sized)) -> Result<Vec<u8>, StoreError> {
        value_of(&self.bytes, objects)
    }

    /// The columns that are not null, in the order of their names.
    pub fn cells(&self) -> impl Iterator<Item = (&str, Cell<'_>)> {
        let mut reader = Reader::new(self.bytes.get(1..).unwrap_or_default());
        std::iter::from_fn(move || read_cell(&mut reader))
    }

    /// The value of a column; `None` where it is null, or there is no such column.
    pub fn get(&self, name: &str) -> Option<Cell<'_>> {
        self.cells()
            .find(|(found, _)| *found == name)
            .map(|(_, cell)| cell)
    }
}

/// `None` at the end, and where something is malformed: a [`Row`] was checked.
fn read_cell<'r>(reader: &mut Reader<'r>) -> Option<(&'r str, Cell<'r>)> {
    let name = std::str::from_utf8(reader.bytes(MAX_NAME)?).ok()?;
    let length = reader.varint()?;
    if length == STORED_CELL {
        let content = Content::decode_from(reader)?;
        return Some((name, Cell::Stored(content)));
    }
    if length % 2 != 0 {
        return None;
    }
    let length = usize::try_from(length / 2).ok()?;
    Some((name, Cell::Inline(reader.take(length)?)))
}

/// Builds rows, one after the other in the same memory.
#[derive(Debug)]
pub struct RowWriter {
    bytes: Vec<u8>,
}

impl Default for RowWriter {
    fn default() -> Self {
        Self { bytes: vec![ROW] }
    }
}

impl RowWriter {
    /// A row without columns.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts the next row.
    pub fn clear(&mut self) {
        self.bytes.truncate(1);
    }

    /// Adds a column that is not null, whose name comes after those before. A longer value than [`MAX_CELL`] has to be
    /// stored, and then named as [`Cell::Stored`].
    pub fn push(&mut self, name: &str, cell: &Cell<'_>) {
        put_bytes(&mut self.bytes, name.as_bytes());
        match cell {
            Cell::Inline(bytes) => {
                put_varint(&mut self.bytes, 2 * bytes.len() as u64);
                self.bytes.extend_from_slice(bytes);
            }
            Cell::Stored(content) => {
                put_varint(&mut self.bytes, STORED_CELL);
                content.encode_into(&mut self.bytes);
            }
        }
    }

    /// Adds a column, storing its value in `objects` where it is long.
    pub fn push_value(
        &mut self,
        name: &str,
        value: &[u8],
        objects: &mut (impl NodeSink + ?Sized),
    ) -> Result<(), StoreError> {
        if value.len() <= MAX_CELL {
            self.push(name, &Cell::Inline(value));
            return Ok(());
        }
        let content = store_content(value, objects)?;
        self.push(name, &Cell::Stored(content));
        Ok(())
    }

    /// The encoding of the row.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The value in a map of rows, with the row stored in `objects` where it is long. More bytes than [`MAX_STORED_ROW`]
    /// are an error.
    pub fn value(&self, objects: &mut (impl NodeSink + ?Sized)) -> Result<Vec<u8>, StoreError> {
        value_of(&self.bytes, objects)
    }
}

/// The value in a map of rows for the encoding of a row.
fn value_of(row: &[u8], objects: &mut (impl NodeSink + ?Sized)) -> Result<Vec<u8>, StoreError> {
    if row.len() <= MAX_ROW {
        return Ok(row.to_vec());
    }
    if row.len() > MAX_STORED_ROW {
        return Err("the row is longer than 4 MiB without its large values".into());
    }
    let mut value = vec![STORED];
    store_content(row, objects)?.encode_into(&mut value);
    Ok(value)
}

/// What a map of rows has under a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RowValue {
    /// The row itself.
    Row(Row),
    /// What names the row's bytes, where they are more than [`MAX_ROW`].
    Stored(Content),
}

/// Why the row of a map's value cannot be had.
#[derive(Debug, Snafu)]
pub enum RowError {
    /// The bytes are no row.
    #[snafu(display("the bytes are no row"))]
    Malformed,
    /// An object that the row names is not there.
    #[snafu(display("object {digest} of a row is missing"))]
    Missing {
        /// Which.
        digest: Digest,
    },
    /// The source failed.
    #[snafu(context(false), display("an object of a row could not be read"))]
    Store {
        /// Why.
        source: StoreError,
    },
}

impl RowValue {
    /// Reads a value of a map of rows; anything else is `None`.
    pub fn decode(value: &Bytes) -> Option<Self> {
        match *value.first()? {
            ROW if value.len() <= MAX_ROW => Row::decode(value.clone()).map(Self::Row),
            STORED => {
                let mut reader = Reader::new(&value[1..]);
                let content = Content::decode_from(&mut reader)?;
                let lengths = MAX_ROW as u64 + 1..=MAX_STORED_ROW as u64;
                (reader.is_empty() && lengths.contains(&content.len()?))
                    .then_some(Self::Stored(content))
            }
            _ => None,
        }
    }

    /// The row, read from `objects` where it is an object of its own. Its large values are not read.
    pub fn load(value: &Bytes, objects: &(impl NodeSource + ?Sized)) -> Result<Row, RowError> {
        match Self::decode(value).context(MalformedSnafu)? {
            Self::Row(row) => Ok(row),
            Self::Stored(content) => {
                let bytes = load_content(&content, objects)?;
                Row::decode(bytes).context(MalformedSnafu)
            }
        }
    }

    /// The contents that the value names by itself: the row, or its large values.
    pub fn contents(&self) -> Vec<Content> {
        match self {
            Self::Stored(content) => vec![content.clone()],
            Self::Row(row) => row
                .cells()
                .filter_map(|(_, cell)| match cell {
                    Cell::Stored(content) => Some(content),
                    Cell::Inline(_) => None,
                })
                .collect(),
        }
    }
}

/// Stores bytes as chunks, cut as those of a file.
pub fn store_content(
    bytes: &[u8],
    objects: &mut (impl NodeSink + ?Sized),
) -> Result<Content, StoreError> {
    let mut rest = bytes;
    let read = |buffer: &mut [u8]| {
        let length = rest.len().min(buffer.len());
        let (now, later) = rest.split_at(length);
        buffer[..length].copy_from_slice(now);
        rest = later;
        Ok::<_, StoreError>(length)
    };
    let mut chunks = Vec::new();
    cut(bytes.len() as u64, read, |chunk| {
        let digest = Digest::of(chunk);
        let len = chunk.len() as u64;
        chunks.push(Chunk { digest, len });
        objects.put_chunk(digest, chunk.to_vec())
    })?;
    let mut lists = Vec::new();
    let content = Content::from_chunks(chunks, |digest, bytes| lists.push((digest, bytes)));
    for (digest, bytes) in lists {
        objects.put(digest, bytes)?;
    }
    Ok(content)
}

/// Reads what a content names, whole: it was in memory whole when it was stored, too, because a database gives and takes
/// a value as one.
pub fn load_content(
    content: &Content,
    objects: &(impl NodeSource + ?Sized),
) -> Result<Vec<u8>, RowError> {
    let mut bytes = Vec::new();
    append(&mut bytes, &content.chunks, content.depth, objects)?;
    Ok(bytes)
}

fn append(
    bytes: &mut Vec<u8>,
    chunks: &[Chunk],
    depth: u8,
    objects: &(impl NodeSource + ?Sized),
) -> Result<(), RowError> {
    for Chunk { digest, len } in chunks {
        let object = objects.node(digest)?;
        let object = object.context(MissingSnafu { digest: *digest })?;
        let before = bytes.len();
        if depth == 0 {
            bytes.extend_from_slice(&object);
        } else {
            let items = decode_list(&object).context(MalformedSnafu)?;
            // Before anything is read: a list may name one chunk again and again.
            let sum = items.iter().try_fold(0u64, |sum, i| sum.checked_add(i.len));
            ensure!(sum == Some(*len), MalformedSnafu);
            append(bytes, &items, depth - 1, objects)?;
        }
        ensure!((bytes.len() - before) as u64 == *len, MalformedSnafu);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::MemoryNodes;
    use proptest::prelude::*;

    fn row(cells: &[(&str, &[u8])], objects: &mut MemoryNodes) -> RowWriter {
        let mut writer = RowWriter::new();
        for (name, value) in cells {
            writer.push_value(name, value, objects).unwrap();
        }
        writer
    }

    fn cells() -> impl Strategy<Value = std::collections::BTreeMap<String, Vec<u8>>> {
        let value = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            (2000usize..2100).prop_map(|len| vec![7; len]),
            (0usize..600_000).prop_map(|len| vec![9; len]),
        ];
        prop::collection::btree_map("[a-z_]{1,12}", value, 0..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_row_comes_back_whole(cells in cells()) {
            let mut objects = MemoryNodes::new();
            let pairs: Vec<(&str, &[u8])> =
                cells.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
            let value = Bytes::from(row(&pairs, &mut objects).value(&mut objects).unwrap());
            let back = RowValue::load(&value, &objects).unwrap();
            let mut found = Vec::new();
            for (name, cell) in back.cells() {
                let bytes = match cell {
                    Cell::Inline(bytes) => bytes.to_vec(),
                    Cell::Stored(content) => load_content(&content, &objects).unwrap(),
                };
                found.push((name.to_owned(), bytes));
            }
            prop_assert_eq!(found, cells.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_that_decode_are_the_one_encoding(bytes: Vec<u8>) {
            if let Some(row) = Row::decode(bytes.clone()) {
                let mut writer = RowWriter::new();
                row.cells().for_each(|(name, cell)| writer.push(name, &cell));
                prop_assert_eq!(writer.as_bytes(), &bytes[..]);
            }
        }
    }

    #[test]
    fn a_wide_row_is_an_object() {
        let mut objects = MemoryNodes::new();
        let names: Vec<String> = (0..600).map(|n| format!("column_{n:04}")).collect();
        let cells: Vec<(&str, &[u8])> = names.iter().map(|n| (n.as_str(), n.as_bytes())).collect();
        let writer = row(&cells, &mut objects);
        let value = Bytes::from(writer.value(&mut objects).unwrap());
        assert!(matches!(
            RowValue::decode(&value),
            Some(RowValue::Stored(_))
        ));
        assert_eq!(
            RowValue::load(&value, &objects).unwrap().bytes(),
            writer.as_bytes()
        );
        let missing = RowValue::load(&value, &MemoryNodes::new()).unwrap_err();
        assert!(matches!(missing, RowError::Missing { .. }));
    }

    #[test]
    fn other_encodings_are_refused() {
        let mut writer = RowWriter::new();
        writer.push("b", &Cell::Inline(b"1"));
        writer.push("a", &Cell::Inline(b"2"));
        assert_eq!(Row::decode(writer.as_bytes().to_vec()), None);
        let long = vec![0; MAX_CELL + 1];
        writer.clear();
        writer.push("a", &Cell::Inline(&long));
        assert_eq!(Row::decode(writer.as_bytes().to_vec()), None);
        let short = store_content(b"short", &mut MemoryNodes::new()).unwrap();
        writer.clear();
        writer.push("a", &Cell::Stored(short));
        assert_eq!(Row::decode(writer.as_bytes().to_vec()), None);
        assert_eq!(Row::decode(Vec::new()), None);
    }
}
