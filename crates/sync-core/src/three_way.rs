//! Three versions of one thing: what both sides began with, and what each made of it.

/// Of three versions the one that a side changed to, where only one side did or both to the same; `None` where both
/// changed it, each in its own way.
///
/// ```
/// use sync_core::three_way;
///
/// assert_eq!(three_way(1, 1, 2), Some(2));
/// assert_eq!(three_way(1, 2, 3), None);
/// ```
pub fn three_way<T: PartialEq + Copy>(base: T, ours: T, theirs: T) -> Option<T> {
    if ours == theirs || theirs == base {
        Some(ours)
    } else if ours == base {
        Some(theirs)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::three_way;

    #[test]
    fn every_case() {
        for (base, ours, theirs, expected) in [
            (1, 1, 1, Some(1)),
            (1, 1, 2, Some(2)),
            (1, 2, 1, Some(2)),
            (1, 2, 2, Some(2)),
            (1, 2, 3, None),
        ] {
            assert_eq!(three_way(base, ours, theirs), expected);
            assert_eq!(three_way(base, theirs, ours), expected, "whoever asks");
        }
    }
}
