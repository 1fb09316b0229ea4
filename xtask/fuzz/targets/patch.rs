//! A difference: no patch copies from beside its base or makes more than it may, and one that we make gives its target.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sync_core::patch::{Signature, apply, between, from_signature, result_len};

fuzz_target!(|bytes: &[u8]| {
    // The first two bytes say where the base ends.
    let Some((cut, rest)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let cut = usize::from(u16::from_le_bytes(*cut)).min(rest.len());
    let (base, patch) = rest.split_at(cut);
    if let Ok(made) = apply(base, patch, 1 << 16) {
        assert_eq!(Some(made.len() as u64), result_len(patch));
    }
    let target = patch;
    assert_eq!(
        apply(base, &between(base, target), target.len()).as_deref(),
        Ok(target)
    );
    if let Some(signature) = Signature::decode(base, target.len()) {
        assert_eq!(signature.encode(), base);
    }
    let signature = Signature::of(base);
    let made = apply(base, &from_signature(&signature, target), target.len());
    assert_eq!(made.map(|made| made.len()), Ok(target.len()));
});
