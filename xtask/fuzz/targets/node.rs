//! A map node: what decodes encodes back to itself, and reads without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sync_core::map::check_node;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(node) = check_node(bytes.to_vec()) {
        assert_eq!(&node.bytes()[..], bytes);
        let _ = (node.level(), node.count(), node.total(), node.last_key());
    }
});
