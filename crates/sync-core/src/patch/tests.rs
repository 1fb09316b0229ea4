//! Laws of patches, and hostile ones.

use proptest::prelude::*;

use super::signature::Window;
use super::*;

/// A base and a target that shares some of it: pieces of the base in any order, with other bytes between them.
fn versions() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let base = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..5000),
        // Few different bytes, and long runs: blocks that occur again and again.
        prop::collection::vec(0..3u8, 0..3000),
        (0..4000usize).prop_map(|len| vec![7; len]),
    ];
    let piece = (
        any::<prop::sample::Index>(),
        0..2000usize,
        prop::collection::vec(any::<u8>(), 0..90),
    );
    (base, prop::collection::vec(piece, 0..5)).prop_map(|(base, pieces)| {
        let mut target = Vec::new();
        for (start, len, literal) in pieces {
            if !base.is_empty() {
                let start = start.index(base.len());
                target.extend_from_slice(&base[start..(start + len).min(base.len())]);
            }
            target.extend_from_slice(&literal);
        }
        (base, target)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_patch_makes_its_target((base, target) in versions()) {
        let patch = between(&base, &target);
        prop_assert_eq!(result_len(&patch), Some(target.len() as u64));
        prop_assert_eq!(apply(&base, &patch, target.len()), Ok(target));
    }

    #[test]
    fn a_patch_from_a_signature_makes_its_target((base, target) in versions()) {
        let encoded = Signature::of(&base).encode();
        prop_assert_eq!(encoded.len(), Signature::encoded_len(base.len()));
        let signature = Signature::decode(&encoded, base.len()).unwrap();
        prop_assert_eq!(&signature, &Signature::of(&base));
        let patch = from_signature(&signature, &target);
        prop_assert_eq!(apply(&base, &patch, target.len()), Ok(target));
    }

    #[test]
    fn a_window_slides_to_what_it_would_be(bytes in prop::collection::vec(any::<u8>(), 65..300), len in 1..64usize) {
        let mut window = Window::of(&bytes[..len]);
        for start in 1..=bytes.len() - len {
            window = window.slid(bytes[start - 1], bytes[start + len - 1]);
            prop_assert_eq!(window, Window::of(&bytes[start..start + len]));
        }
    }

    #[test]
    fn any_bytes_are_applied_within_bounds_or_refused(base: Vec<u8>, patch: Vec<u8>, max in 0..500usize) {
        if let Ok(target) = apply(&base, &patch, max) {
            prop_assert!(target.len() <= max);
            prop_assert_eq!(result_len(&patch), Some(target.len() as u64));
        }
    }

    #[test]
    fn a_cut_patch_is_refused((base, target) in versions(), at: prop::sample::Index) {
        let patch = between(&base, &target);
        let cut = &patch[..at.index(patch.len())];
        prop_assert!(apply(&base, cut, target.len()).is_err());
    }
}

fn words(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut text = Vec::new();
    while text.len() < len {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.extend_from_slice(format!("{} ", state >> 12).as_bytes());
    }
    text.truncate(len);
    text
}

/// Replaces the bytes from a third to the half of a text of `len` bytes; the patch may have `most` bytes.
#[track_caller]
fn check_cost(len: usize, most_between: usize, most_from_signature: usize) {
    let base = words(1, len);
    let mut target = base.clone();
    target.splice(len / 3..len / 2, words(2, len / 6 + 3));
    let patch = between(&base, &target).len();
    assert!(patch <= most_between, "{patch} bytes between");
    let patch = from_signature(&Signature::of(&base), &target).len();
    assert!(
        patch <= most_from_signature,
        "{patch} bytes from a signature"
    );
}

#[test]
fn a_patch_costs_little_more_than_what_changed() {
    check_cost(1000, 180, 166 + 256 + 16);
    check_cost(4000, 690, 666 + 512 + 16);
    check_cost(200_000, 33_360, 33_333 + 4096 + 32);
}

#[test]
fn what_is_equal_costs_nearly_nothing() {
    for len in [64, 65, 100, 4096, 5000] {
        let base = words(3, len);
        assert!(between(&base, &base).len() < 8);
        let patch = from_signature(&Signature::of(&base), &base);
        assert!(patch.len() < 8, "{} bytes of {len}", patch.len());
    }
}

#[test]
fn a_signature_of_another_length_is_none() {
    let encoded = Signature::of(&[1; 1000]).encode();
    assert_eq!(Signature::decode(&encoded, 3000), None);
    assert_eq!(Signature::decode(&encoded[1..], 1000), None);
    assert_eq!(Signature::decode(&[], 0), Some(Signature::of(&[])));
}

#[track_caller]
fn check(patch: &[u8], expected: Result<&[u8], &str>) {
    let applied = apply(b"0123456789", patch, 16).map_err(|error| error.to_string());
    assert_eq!(applied, expected.map(<[u8]>::to_vec).map_err(str::to_owned));
}

#[test]
fn hostile_patches_are_refused_by_name() {
    const CUT: Result<&[u8], &str> = Err("a patch ends too early");
    const RANGE: Result<&[u8], &str> = Err("a patch copies what its base has not");
    const COUNT: Result<&[u8], &str> = Err("a patch copies nothing, or more than it makes");
    check(&[4, 0, 4, 6], Ok(b"6789"));
    check(&[6, 1, b'x', 2, 0, 1, b'y', 2, 0], Ok(b"x01y01"));
    check(&[0], Ok(b""));
    check(&[], CUT);
    check(&[4], CUT);
    check(&[4, 0], CUT);
    check(&[4, 0, 4], CUT);
    check(&[4, 2, b'x'], CUT);
    // A literal that is longer than the whole.
    check(&[1, 2, b'x', b'y'], CUT);
    check(&[4, 0, 4, 7], RANGE);
    check(&[4, 0, 4, 11], RANGE);
    check(&[&[4, 0, 4][..], &[0xff; 9], &[1]].concat(), RANGE);
    check(&[4, 0, 5, 0], COUNT);
    check(&[4, 0, 0, 0, 0, 4, 0], COUNT);
    check(&[17, 0, 10, 0], Err("a patch makes more bytes than it may"));
    let huge = [&[0xff; 9][..], &[1, 0, 10, 0]].concat();
    check(&huge, Err("a patch makes more bytes than it may"));
    check(&[4, 0, 4, 6, 0], Err("a patch goes on after its last byte"));
    check(&[0, 0], Err("a patch goes on after its last byte"));
}
