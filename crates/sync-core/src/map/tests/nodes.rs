//! One node at a time.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::wire::{put_bytes, put_varint};

/// The bytes of a node, from keys and encoded payloads as they come: right or wrong.
pub(super) fn encode(level: u8, entries: &[(&[u8], Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![0xa1, level];
    put_varint(&mut bytes, entries.len() as u64);
    let mut before: &[u8] = &[];
    for (key, payload) in entries {
        let shared = before.iter().zip(*key).take_while(|(a, b)| a == b).count();
        put_varint(&mut bytes, shared as u64);
        put_bytes(&mut bytes, &key[shared..]);
        bytes.extend_from_slice(payload);
        before = key;
    }
    bytes
}

/// A leaf entry's payload.
pub(super) fn value(bytes: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    put_bytes(&mut payload, bytes);
    payload
}

/// A branch entry's payload.
pub(super) fn child(digest: Digest, len: u64) -> Vec<u8> {
    let mut payload = digest.as_bytes().to_vec();
    put_varint(&mut payload, len);
    payload
}

/// The bytes of a node from what was read from it.
fn encode_again(node: &Node) -> Vec<u8> {
    let entries: Vec<_> = if node.level() == 0 {
        node.entries().map(|(key, v)| (key, value(v))).collect()
    } else {
        node.children()
            .map(|c| (c.last_key, child(c.digest, c.len)))
            .collect()
    };
    encode(node.level(), &entries)
}

/// A node of every level of a usual map.
static EXAMPLES: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
    let mut nodes = MemoryNodes::new();
    let root = build(&files(6000), &mut nodes).root;
    let mut examples = BTreeMap::new();
    for node in new_nodes(&nodes, None, &nodes, root) {
        let node = node.unwrap().node;
        examples.insert(node.level(), node.bytes().clone());
    }
    assert_eq!(examples.len(), 3, "levels");
    examples.into_values().collect()
});

proptest! {
    #[test]
    fn bytes_that_decode_encode_back_to_themselves(
        pick: prop::sample::Index,
        at: prop::sample::Index,
        byte: u8,
        cut: bool,
    ) {
        let mut bytes = pick.get(&EXAMPLES).to_vec();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
            prop_assert!(check_node(bytes.clone()).is_err());
        } else {
            bytes[at] = byte;
        }
        if let Ok(node) = Node::decode(bytes.clone().into()) {
            prop_assert_eq!(encode_again(&node), bytes);
        }
    }

    #[test]
    fn any_bytes_are_refused_or_encode_back_to_themselves(level in 0..3u8, bytes: Vec<u8>) {
        let bytes = [&[0xa1, level][..], &bytes].concat();
        if let Ok(node) = Node::decode(bytes.clone().into()) {
            prop_assert_eq!(encode_again(&node), bytes);
        }
    }
}

#[track_caller]
fn check(bytes: &[u8], reason: &str) {
    let error = check_node(bytes.to_vec()).map(|_| ()).unwrap_err();
    assert_eq!(error.reason(), reason);
}

#[test]
fn what_is_not_the_one_encoding_of_a_node_is_refused() {
    let digest = Digest::of(b"child");
    assert!(check_node(encode(0, &[])).is_ok());
    assert!(check_node(encode(0, &[(b"", value(b""))])).is_ok());
    assert!(check_node(encode(1, &[(b"a", child(digest, 1))])).is_ok());

    check(&[], "it does not start as a node");
    check(&[0xa2, 0, 0], "it does not start as a node");
    check(&[0xa1], "it is cut off");
    check(&[0xa1, 0], "it is cut off");
    check(&[0xa1, 0, 0x80, 0], "it is cut off");
    check(&[0xa1, 64, 0], "its level is too high");
    check(&[0xa1, 1, 0], "a branch has no children");
    check(&[0xa1, 0, 0, 0], "bytes are left over");
    check(&vec![0; MAX_NODE], "it is too long");
    check(
        &[0xa1, 0, 2, 0, 1, b'a', 0],
        "it has fewer entries than it says",
    );
    // A count that would take all memory.
    let count = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    let bomb = [&[0xa1, 0][..], &count].concat();
    check(&bomb, "it has fewer entries than it says");

    let keys = "its keys do not rise, or are not shortest";
    check(&encode(0, &[(b"b", value(b"")), (b"a", value(b""))]), keys);
    check(&encode(0, &[(b"a", value(b"")), (b"a", value(b""))]), keys);
    check(&encode(0, &[(b"ab", value(b"")), (b"a", value(b""))]), keys);
    // "aa" without saying that it shares the "a".
    check(&[0xa1, 0, 2, 0, 1, b'a', 0, 0, 2, b'a', b'a', 0], keys);
    check(
        &[0xa1, 0, 2, 0, 1, b'a', 0, 2, 1, b'a', 0],
        "a key shares more than there is",
    );
    check(
        &[0xa1, 0, 1, 1, 1, b'a', 0],
        "a key shares more than there is",
    );
    let long = vec![7; MAX_KEY + 1];
    check(
        &encode(0, &[(&long, value(b""))]),
        "a key is cut off or too long",
    );
    // Too long by what it shares with the key before.
    let alike = [(&long[..MAX_KEY], value(b"")), (&long, value(b""))];
    check(&encode(0, &alike), "a key is cut off or too long");
    let large = value(&vec![7; MAX_VALUE + 1]);
    check(
        &encode(0, &[(b"a", large)]),
        "a value is cut off or too long",
    );

    check(&encode(1, &[(b"a", child(digest, 0))]), "a child is empty");
    check(&encode(1, &[(b"a", vec![7; 31])]), "a child is cut off");
    check(&encode(1, &[(b"a", vec![7; 32])]), "a count is malformed");
    let many = [
        (&b"a"[..], child(digest, u64::MAX)),
        (b"b", child(digest, 1)),
    ];
    check(&encode(1, &many), "counts overflow");
    let goes_on = [(&b"a"[..], value(&[7; MAX_VALUE])), (b"b", value(b""))];
    check(
        &encode(0, &goes_on),
        "it goes on after an entry that ends a node",
    );
}

#[test]
fn only_the_last_node_of_a_level_may_end_anywhere() {
    let mut nodes = MemoryNodes::new();
    let root = build(&files(2000), &mut nodes).root;
    let mut open = 0;
    for node in new_nodes(&nodes, None, &nodes, root) {
        let node = check_node(node.unwrap().node.bytes().clone()).unwrap();
        open += usize::from(!node.ends_in_cut());
    }
    assert_eq!(open, 2, "the root and the last leaf");
}
