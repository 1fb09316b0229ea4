//! Rows, schemas and tables: what decodes encodes back to itself, and values are shown without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sync_core::map::MemoryNodes;
use sync_core::rows::{Cell, Kind, Row, RowValue, RowWriter, Schema, TableEntry, TableName, text};

const KINDS: [Kind; 14] = [
    Kind::Text,
    Kind::Bool,
    Kind::Int2,
    Kind::Int4,
    Kind::Int8,
    Kind::Float4,
    Kind::Float8,
    Kind::Bytes,
    Kind::Uuid,
    Kind::Date,
    Kind::Timestamp,
    Kind::TimestampTz,
    Kind::Numeric,
    Kind::Jsonb,
];

fuzz_target!(|bytes: &[u8]| {
    if let Some(row) = Row::decode(bytes.to_vec()) {
        let mut writer = RowWriter::new();
        for (name, cell) in row.cells() {
            writer.push(name, &cell);
            if let Cell::Inline(value) = cell {
                let _ = KINDS.map(|kind| text(kind, value));
            }
        }
        assert_eq!(writer.as_bytes(), bytes);
    }
    let value = bytes.to_vec().into();
    let _ = RowValue::decode(&value).map(|value| value.contents());
    let _ = RowValue::load(&value, &MemoryNodes::new());
    if let Some(schema) = Schema::decode(bytes) {
        assert_eq!(schema.encode().1, bytes);
        assert!(schema.differences(&schema).is_empty());
    }
    if let Some(entry) = TableEntry::decode(bytes) {
        assert_eq!(entry.encode(), bytes);
    }
    if let Some(name) = TableName::from_key(bytes) {
        assert_eq!(name.as_str().as_bytes(), bytes);
    }
});
