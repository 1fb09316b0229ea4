//! A primary key as bytes that sort as the database's query sorts.

/// Builds the key of a row: its columns in the order of the primary key.
///
/// Integers and times sort as numbers, everything else bytewise, as PostgreSQL sorts text under `COLLATE "C"`.
/// Keys of several columns sort by the first column, then by the next.
#[derive(Debug, Default)]
pub struct KeyWriter {
    bytes: Vec<u8>,
}

impl KeyWriter {
    /// An empty key.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts again, in the same memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds a signed number in big-endian two's complement, as PostgreSQL sends integers and times: all keys of one table
    /// have the same width here.
    pub fn signed(&mut self, big_endian: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(big_endian);
        // Negative numbers have the highest bit set, and come first.
        if let Some(first) = self.bytes.get_mut(start) {
            *first ^= 0x80;
        }
    }

    /// Adds bytes of a width that is the same for all keys of the table, such as a UUID.
    pub fn fixed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Adds bytes of any length; `is_last` says that no further column follows.
    pub fn text(&mut self, bytes: &[u8], is_last: bool) {
        if is_last {
            self.bytes.extend_from_slice(bytes);
            return;
        }
        // An end that sorts before everything a longer value could go on with.
        for byte in bytes {
            self.bytes.push(*byte);
            if *byte == 0 {
                self.bytes.push(0xff);
            }
        }
        self.bytes.extend_from_slice(&[0, 0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(texts: &[&[u8]]) -> Vec<u8> {
        let mut writer = KeyWriter::new();
        for (index, text) in texts.iter().enumerate() {
            writer.text(text, index + 1 == texts.len());
        }
        writer.as_bytes().to_vec()
    }

    proptest! {
        #[test]
        fn texts_sort_as_tuples(a: (Vec<u8>, Vec<u8>), b: (Vec<u8>, Vec<u8>)) {
            prop_assert_eq!(key(&[&a.0, &a.1]).cmp(&key(&[&b.0, &b.1])), a.cmp(&b));
        }

        #[test]
        fn numbers_sort_as_numbers(a: i64, b: i64, c: i16, d: i16) {
            let number = |n: i64, m: i16| {
                let mut writer = KeyWriter::new();
                writer.signed(&n.to_be_bytes());
                writer.signed(&m.to_be_bytes());
                writer.as_bytes().to_vec()
            };
            prop_assert_eq!(number(a, c).cmp(&number(b, d)), (a, c).cmp(&(b, d)));
        }
    }

    #[test]
    fn a_key_starts_again_in_the_same_memory() {
        let mut writer = KeyWriter::new();
        writer.fixed(&[1, 2]);
        writer.clear();
        writer.fixed(&[3]);
        assert_eq!(writer.as_bytes(), [3]);
    }
}
