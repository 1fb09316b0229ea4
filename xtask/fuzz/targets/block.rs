//! One stored block: what a zstd frame claims is checked before it is believed.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sync_store::pack::{BlockDecoder, HEADER_LEN, MAX_RAW};

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut decoder) = BlockDecoder::new() else {
        return;
    };
    let _ = decoder.decode(Bytes::copy_from_slice(bytes));
    // The same with a header that fits, so that the payload is what is tried.
    if let Some((codec, payload)) = bytes.split_first()
        && !payload.is_empty()
    {
        let codec = codec & 1;
        let stored = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let raw = if codec == 0 {
            stored
        } else {
            stored.saturating_add(64)
        };
        let mut block = vec![codec, 2, 0, 0];
        for length in [raw, stored, 1] {
            block.extend_from_slice(&length.to_le_bytes());
        }
        assert_eq!(block.len(), HEADER_LEN);
        block.extend_from_slice(payload);
        if let Ok(block) = decoder.decode(block.into()) {
            assert!(block.raw.len() <= MAX_RAW);
            assert!(block.objects().all(|object| !object.is_empty()));
        }
    }
});
