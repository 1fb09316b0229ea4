//! A list of chunks: what decodes encodes back to itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sync_core::content::{decode_list, encode_list};

fuzz_target!(|bytes: &[u8]| {
    if let Some(chunks) = decode_list(bytes) {
        assert_eq!(encode_list(&chunks), bytes);
    }
});
