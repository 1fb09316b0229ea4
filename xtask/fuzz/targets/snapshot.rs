//! A snapshot: what decodes is canonical JSON, and encodes back to itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sync_core::Snapshot;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(snapshot) = Snapshot::decode(bytes)
        && let Ok((_, encoded)) = snapshot.encode()
    {
        assert_eq!(encoded, bytes);
    }
});
