//! The binary stream of `COPY`: however it is cut into pieces, the same rows come out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sync_db::fuzzing::copy;

/// The signature, flags and the length of an extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

fuzz_target!(|bytes: &[u8]| {
    let Some((piece, rest)) = bytes.split_first() else {
        return;
    };
    // Most of what is made up has no header.
    let stream = if piece % 2 == 0 {
        [HEADER, rest].concat()
    } else {
        rest.to_vec()
    };
    let whole = copy(&stream, usize::MAX);
    assert_eq!(copy(&stream, usize::from(*piece) / 2 + 1), whole);
    let bytes: usize = whole.0.iter().flatten().flatten().map(Vec::len).sum();
    assert!(bytes <= stream.len());
});
