//! What is not exactly a bundle is refused, and leaves nothing that anybody sees.

use sync_bundle::{AskExport, tar};
use sync_store::Identity;

use super::support::{Parts, example, exported, refused};

async fn bundle() -> Vec<u8> {
    exported(&example().await, AskExport::default())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_bundle_that_is_cut_off() {
    let tar = bundle().await;
    refused(&[], "bundle/not-a-bundle").await;
    refused(&tar[1..], "bundle/not-a-bundle").await;
    for len in [1, 511, 513, tar.len() / 2, tar.len() - 1024, tar.len() - 1] {
        refused(&tar[..len], "bundle/truncated").await;
    }
    refused(&[&tar[..], &[0]].concat(), "bundle/trailing").await;
    refused(&[&tar[..], &tar[..]].concat(), "bundle/trailing").await;
}

#[tokio::test]
async fn a_byte_that_was_flipped() {
    let tar = bundle().await;
    let parts = Parts::of(&tar);
    let find = |text: &str| {
        let at = tar
            .windows(text.len())
            .position(|window| window == text.as_bytes());
        at.unwrap()
    };
    let member = |path: &str| find(path) + 512;
    let members = [
        ("branches.json", "bundle/digest"),
        ("packs/000001.pack", "bundle/digest"),
        ("snapshots/000001.jsonl", "bundle/digest"),
    ];
    for (path, code) in members {
        // The manifest names it first; its header stands on a block.
        let at = (0..tar.len())
            .step_by(512)
            .find(|at| tar[*at..].starts_with(path.as_bytes()));
        for byte in [512, 530, 600] {
            let mut flipped = tar.clone();
            flipped[at.unwrap() + byte] ^= 1;
            refused(&flipped, code).await;
        }
        let mut flipped = tar.clone();
        flipped[at.unwrap() + 110] ^= 1;
        refused(&flipped, "bundle/order").await;
    }
    let mut flipped = tar.clone();
    flipped[member("manifest.sig") + 5] ^= 1;
    refused(&flipped, "bundle/signature").await;
    let mut flipped = tar.clone();
    let at = find("\"created_at\":1700000000500") + 25;
    flipped[at] ^= 1;
    refused(&flipped, "bundle/signature").await;
    assert!(parts.manifest.created_at > 0);
}

#[tokio::test]
async fn members_in_another_order_or_twice() {
    let parts = Parts::of(&bundle().await);
    let mut swapped = parts.clone();
    swapped.members.swap(1, 2);
    refused(&swapped.tar(), "bundle/order").await;
    let swapped = swapped.settled();
    refused(&swapped.tar(), "bundle/malformed").await;
    let mut twice = parts.clone();
    twice.members.insert(1, twice.members[0].clone());
    refused(&twice.tar(), "bundle/order").await;
    refused(&twice.settled().tar(), "bundle/malformed").await;
    let mut less = parts.clone();
    less.members.remove(3);
    refused(&less.tar(), "bundle/order").await;
}

#[tokio::test]
async fn a_manifest_that_lies() {
    let parts = Parts::of(&bundle().await);
    // As a stranger signs it, it is a bundle like any other: whom to trust is for the caller.
    let mut other = parts.clone();
    other.manifest.record_count += 1;
    refused(&other.tar(), "bundle/malformed").await;
    let mut other = parts.clone();
    other.manifest.heads[0].branch = "z".parse().unwrap();
    refused(&other.tar(), "bundle/malformed").await;
    let mut other = parts.clone();
    other.manifest.bundle_version = 2;
    refused(&other.tar(), "bundle/version").await;
    for path in [
        "../up",
        "/etc/passwd",
        "packs/1.pack",
        "packs/../x.pack",
        "identity/private_key",
    ] {
        let mut other = parts.clone();
        other.members.push((path.to_owned(), b"x".to_vec()));
        refused(&other.settled().tar(), "bundle/path").await;
    }
    let mut other = parts.clone();
    other.manifest.members[3].length = 1 << 40;
    refused(&other.tar(), "bundle/path").await;
    let spaced = [b" ", &parts.manifest.encode()[..]].concat();
    refused(&parts.tar_of(&spaced), "bundle/malformed").await;
    let text = String::from_utf8(parts.manifest.encode()).unwrap();
    let more = text.replacen('{', "{\"also\":1,", 1);
    refused(&parts.tar_of(more.as_bytes()), "bundle/malformed").await;
}

#[tokio::test]
async fn a_signature_by_somebody_else() {
    let parts = Parts::of(&bundle().await);
    // The manifest names the tenant, a stranger signs.
    refused(&parts.tar_of(&parts.manifest.encode()), "bundle/signature").await;
    let mut named = parts.clone();
    named.manifest.source.public_key = Some(parts.key.public_key());
    let bytes = named.manifest.encode();
    let mut forged = named.clone();
    forged.key = std::sync::Arc::new(Identity::generate().unwrap());
    refused(&forged.tar_of(&bytes), "bundle/signature").await;
}

#[tokio::test]
async fn what_is_not_all_there() {
    let parts = Parts::of(&bundle().await);
    // Without its pack.
    let mut less = parts.clone();
    let at = less
        .members
        .iter()
        .position(|(path, _)| path.starts_with("packs/"))
        .unwrap();
    less.members.remove(at);
    less.manifest.record_count = 4 + 2 + 1 + 1;
    refused(&less.settled().tar(), "bundle/incomplete").await;
    // A pack that is none, with the right digest.
    let mut broken = parts.clone();
    broken.members[at].1[20] ^= 1;
    refused(&broken.settled().tar(), "bundle/malformed").await;
    // A snapshot before the one that it comes after, one too many, and one too few.
    let list = parts.members.len() - 1;
    let text = String::from_utf8(parts.members[list].1.clone()).unwrap();
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    lines.reverse();
    let mut other = parts.clone();
    other.members[list].1 = lines.concat().into_bytes();
    refused(&other.settled().tar(), "bundle/malformed").await;
    lines.reverse();
    let mut other = parts.clone();
    other.members[list].1 = lines[..3].concat().into_bytes();
    refused(&other.settled().tar(), "bundle/malformed").await;
    let mut other = parts.clone();
    other.members[list].1 = [&lines[..], &lines[..1]].concat().concat().into_bytes();
    refused(&other.settled().tar(), "bundle/malformed").await;
    let mut other = parts.clone();
    other.members[list].1.pop();
    refused(&other.settled().tar(), "bundle/malformed").await;
}

#[tokio::test]
async fn nothing_depends_on_how_bytes_arrive() {
    let tar = bundle().await;
    for size in [1, 511, 512, 513, tar.len()] {
        let mut reader = sync_bundle::Reader::default();
        let mut events = 0;
        for piece in tar.chunks(size) {
            reader.feed(piece);
            while let Some(event) = reader.next_event().unwrap() {
                events += usize::from(!matches!(event, sync_bundle::Event::Piece(_)));
            }
        }
        reader.finish().unwrap();
        let members = Parts::of(&tar).members.len();
        assert_eq!(events, 2 + 2 * members, "pieces of {size}");
    }
    assert_eq!(tar.len() % tar::BLOCK, 0);
}
