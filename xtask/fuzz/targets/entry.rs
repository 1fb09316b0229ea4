//! An entry of a tree: what decodes encodes back to itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sync_core::{Entry, TreePath};

fuzz_target!(|bytes: &[u8]| {
    if let Some(entry) = Entry::decode(bytes) {
        assert_eq!(entry.encode(), bytes);
        let _ = entry.size();
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(path) = TreePath::new(text)
    {
        assert_eq!(path.as_bytes(), bytes);
        let _ = Entry::link_stays_inside(&path, text);
    }
});
