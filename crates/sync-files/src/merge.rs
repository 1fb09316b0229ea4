//! What two sides made of one text.

/// Merges by line what two sides made of `base`; `None` where both changed the same lines, or something is not text.
///
/// The sides are equal: with `ours` and `theirs` exchanged the result is the same. Text is UTF-8 without NUL;
/// line ends are part of their lines, so they stay as they are. The cost grows with the product of length and difference,
/// so callers bound what they give.
pub fn merge_text(base: &[u8], ours: &[u8], theirs: &[u8]) -> Option<Vec<u8>> {
    let [base, ours, theirs] = [base, ours, theirs].map(text);
    let (base, ours, theirs) = (base?, ours?, theirs?);
    let merged = diffy::merge(base, ours, theirs).ok()?;
    // Where the order of the sides would decide, a person has to.
    let mirrored = diffy::merge(base, theirs, ours).ok()?;
    (merged == mirrored).then(|| merged.into_bytes())
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes)
        .ok()
        .filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(base: &str, ours: &str, theirs: &str, expected: Option<&str>) {
        for (a, b) in [(ours, theirs), (theirs, ours)] {
            let merged = merge_text(base.as_bytes(), a.as_bytes(), b.as_bytes());
            let merged = merged.map(|bytes| String::from_utf8(bytes).unwrap());
            assert_eq!(merged.as_deref(), expected);
        }
    }

    #[test]
    fn lines_apart_merge_and_lines_together_do_not() {
        let base = "a\nb\nc\nd\ne\n";
        check(
            base,
            "A\nb\nc\nd\ne\n",
            "a\nb\nc\nd\nE\n",
            Some("A\nb\nc\nd\nE\n"),
        );
        check(
            base,
            "a\nc\nd\ne\n",
            "a\nb\nc\nd\nE\n",
            Some("a\nc\nd\nE\n"),
        );
        check(base, "a\nb\nX\nd\ne\n", "a\nb\nY\nd\ne\n", None);
        // One side removes the line that the other adds something after.
        check("{\n  a\n}\n", "{\n}\n", "{\n  a\n  b\n}\n", None);
        // Both add at the same place: which comes first would depend on who runs first.
        check("a\n", "a\nb\n", "a\nc\n", None);
        check("a\n", "a\nb\n", "a\nb\n", Some("a\nb\n"));
        check(
            "a\nb\nc\nd\n",
            "a\r\nb\nc\nd\n",
            "a\nb\nc\nd",
            Some("a\r\nb\nc\nd"),
        );
    }

    #[test]
    fn what_is_not_text_is_not_merged() {
        assert_eq!(merge_text(b"a\n", b"a\n\0", b"b\n"), None);
        assert_eq!(merge_text(b"a\n", b"\xff\n", b"a\n"), None);
    }

    fn document() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![Just("a"), Just("b"), Just("c"), Just("d")];
        (proptest::collection::vec(line, 0..8), any::<bool>()).prop_map(|(lines, end)| {
            let mut text = lines.join("\n");
            if end {
                text.push('\n');
            }
            text.into_bytes()
        })
    }

    proptest! {
        #[test]
        fn both_sides_are_equal(base in document(), ours in document(), theirs in document()) {
            prop_assert_eq!(merge_text(&base, &ours, &theirs), merge_text(&base, &theirs, &ours));
        }

        #[test]
        fn a_side_that_changed_nothing_gives_way(base in document(), ours in document()) {
            prop_assert_eq!(merge_text(&base, &ours, &base), Some(ours.clone()));
            prop_assert_eq!(merge_text(&base, &ours, &ours), Some(ours));
        }
    }
}
