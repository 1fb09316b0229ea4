//! Releases: a root that is an object of its own, checked, sent, kept and verified like every other.

use sync_core::{Digest, Release, SnapshotId};

use super::fixture::{Tree, advance, collect, fetch, pack, receive, tenant, unpack};
use super::upkeep::gc;
use crate::protocol::{DamageKind, Fetch, Part};
use crate::{Advanced, Class, Error, Keep, Repository};

fn release(tag: &str) -> (Digest, Vec<u8>) {
    let release = Release {
        commit: None,
        contents: Digest::of(tag.as_bytes()),
        dirty: true,
        image: format!("registry.example.com/agents@sha256:{}", "0f".repeat(32)),
        tag: tag.to_owned(),
    };
    release.encode().unwrap()
}

/// Pushes a snapshot of a file that names `named` as its release, with `object` beside it.
async fn pushed(
    repository: &Repository,
    parent: Option<SnapshotId>,
    named: Digest,
    object: Option<Vec<u8>>,
) -> Result<SnapshotId, Error> {
    let tree = Tree::new([("a.txt", "one")]);
    let mut snapshot = tree.snapshot(parent.as_slice());
    snapshot.roots.release = Some(named);
    let (id, _) = snapshot.encode().unwrap();
    let mut objects = tree.objects(&snapshot);
    objects.extend(object.map(|bytes| (Class::Nodes, bytes)));
    let received = receive(repository, &pack(&objects)).await?;
    let advanced = repository.advance(received, advance(parent, id)).await?;
    assert_eq!(advanced, Advanced::Moved);
    Ok(id)
}

#[tokio::test]
async fn a_head_moves_where_its_release_is_there_and_one() {
    let repository = tenant().await;
    let (one, bytes) = release("one");
    match pushed(&repository, None, one, None).await {
        Err(Error::Incomplete { missing, total }) => assert_eq!((missing, total), (vec![one], 1)),
        other => panic!("{other:?}"),
    }
    for wrong in [b"no release".to_vec(), [&bytes[..], b" "].concat()] {
        let named = Digest::of(&wrong);
        let refused = pushed(&repository, None, named, Some(wrong)).await;
        assert!(
            matches!(refused, Err(Error::Malformed { .. })),
            "{refused:?}"
        );
    }
    let first = pushed(&repository, None, one, Some(bytes)).await.unwrap();
    // The one of the parent is trusted.
    let second = pushed(&repository, Some(first), one, None).await.unwrap();
    let found = repository.release(one).await.unwrap();
    assert_eq!(found.map(|release| release.tag).as_deref(), Some("one"));
    assert_eq!(
        repository.snapshot(second).await.unwrap().roots.release,
        Some(one)
    );
}

#[tokio::test]
async fn a_release_is_sent_with_all_of_a_snapshot_and_kept() {
    let repository = tenant().await;
    let [(one, first), (two, second)] = ["one", "two"].map(release);
    let have = pushed(&repository, None, one, Some(first)).await.unwrap();
    let want = pushed(&repository, Some(have), two, Some(second))
        .await
        .unwrap();
    let part = |part, have| Fetch {
        part,
        ..fetch(want, have, true)
    };
    let sent = async |fetch| {
        let pack = collect(repository.export(fetch).await.unwrap())
            .await
            .unwrap();
        let sent = unpack(&pack);
        (sent.contains_key(&one), sent.contains_key(&two))
    };
    assert_eq!(sent(part(Part::All, None)).await, (false, true));
    assert_eq!(sent(part(Part::All, Some(have))).await, (false, true));
    assert_eq!(sent(part(Part::Files, None)).await, (false, false));

    gc(&repository, 1000, 0).await;
    gc(&repository, 2000, 0).await;
    assert!(repository.release(one).await.unwrap().is_some());
    assert!(repository.verify(Keep::Heads).await.unwrap().is_sound());
    repository.forget(&[two]).await.unwrap();
    let report = repository.verify(Keep::Heads).await.unwrap();
    let found: Vec<_> = report
        .damaged
        .iter()
        .map(|found| (found.digest, found.kind))
        .collect();
    assert_eq!(found, [(two, DamageKind::Release)]);
}
