//! The cut rule: after which entry a node ends.
//!
//! An entry's chance to end its node rises with the cube of the node's size so far, so that sizes follow a Weibull
//! distribution of shape 4 around 4 KiB (as Dolt's `go/store/prolly/tree/node_splitter.go` does), and depends on the hash of
//! its key alone, so that values move no boundary unless their length changes.
//! The rule is part of the format: another rule gives other roots.

/// A node whose weight reaches this ends there, whatever its keys are.
pub(crate) const MAX_WEIGHT: u64 = 16 * 1024;

/// What every entry weighs beside its key and its value or child.
const OVERHEAD: u64 = 4;
/// What a child weighs: its digest, and its count roughly.
const CHILD: u64 = 40;

/// What a leaf entry adds to the weight of its node, from the lengths of its key and its value in bytes.
pub(crate) const fn leaf_weight(key: usize, value: usize) -> u64 {
    key as u64 + value as u64 + OVERHEAD
}

/// What a branch entry adds to the weight of its node, from the length of its key in bytes.
pub(crate) const fn branch_weight(key: usize) -> u64 {
    key as u64 + CHILD + OVERHEAD
}

/// Whether a node ends after the entry that takes its weight from `before` to `after`.
/// `tagged_key` is the level of the node as one byte, then the entry's key: exactly what is hashed.
pub(crate) fn ends_node(tagged_key: &[u8], before: u64, after: u64) -> bool {
    let is_branch = tagged_key.first().is_some_and(|level| *level > 0);
    // A branch with one child would only repeat it, and a map of such branches would never end.
    if is_branch && before == 0 {
        return false;
    }
    if after >= MAX_WEIGHT {
        return true;
    }
    let hash = blake3::hash(tagged_key);
    let [a, b, c, d, ..] = *hash.as_bytes();
    let drawn = u64::from(u32::from_le_bytes([a, b, c, d]));
    // `drawn * 4096^4 < (after^4 - before^4) * 2^32` with both sides divided by 2^32; weights are below 2^14 here.
    (drawn << 16) < after.pow(4) - before.pow(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(level: u8, key: &str, before: u64, after: u64, expected: bool) {
        let tagged = [&[level], key.as_bytes()].concat();
        assert_eq!(ends_node(&tagged, before, after), expected);
    }

    #[test]
    fn the_chance_rises_with_the_weight_up_to_certainty() {
        // The hash of `00 6b` starts with `cc 51 04 fe`: hardly any other draw asks for a larger node.
        check(0, "k", 0, 60, false);
        check(0, "k", 3000, 3060, false);
        check(0, "k", 16_000, 16_060, true);
        check(0, "k", 16_383, 16_384, true);
        check(0, "k", 0, 20_000, true);
        check(1, "k", 0, 8236, false);
        check(1, "k", 16_000, 16_384, true);
    }
}
