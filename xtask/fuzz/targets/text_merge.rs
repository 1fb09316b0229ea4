//! Two sides of a text: a merge has no favourite, and leaves alone what nobody changed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sync_files::merge_text;

fuzz_target!(|bytes: &[u8]| {
    // The cost grows with the product of length and difference.
    if bytes.len() > 2048 {
        return;
    }
    let mut parts = bytes.splitn(3, |byte| *byte == 0x1e);
    let (base, ours, theirs) = (parts.next(), parts.next(), parts.next());
    let (base, ours) = (base.unwrap_or_default(), ours.unwrap_or_default());
    let theirs = theirs.unwrap_or_default();
    assert_eq!(
        merge_text(base, ours, theirs),
        merge_text(base, theirs, ours)
    );
    if let Some(merged) = merge_text(base, ours, base) {
        assert_eq!(merged, ours);
    }
});
