//! Collection, retention, damage and repair.

use bytes::Bytes;
use sync_core::{Digest, SnapshotId};

use super::fixture::{
    Tree, advance, collect, complete, fetch, pack, push, receive, tenant, unpack,
};
use crate::protocol::{DamageKind, GcReport, Retention, prefix};
use crate::{Advance, Advanced, Class, Error, Keep, Received, Removed, Repository, Store};

/// Later than every push of these tests.
const NOW: u64 = 1_000_000;

pub(super) async fn gc(repository: &Repository, now: u64, grace: u64) -> GcReport {
    let plan = repository.plan_gc(Keep::Heads, now, grace).await.unwrap();
    repository.apply_gc(plan).await.unwrap()
}

async fn sound(repository: &Repository) -> bool {
    repository.verify(Keep::Heads).await.unwrap().is_sound()
}

/// A branch that moved on `count` times, every time with another tree.
async fn history(repository: &Repository, count: usize) -> Vec<(SnapshotId, Tree)> {
    let mut made: Vec<(SnapshotId, Tree)> = Vec::new();
    for n in 0..count {
        let tree = Tree::numbered(40).with([
            ("same", Some("same")),
            ("own", Some(&*format!("version {n}"))),
        ]);
        let parent = made.last().map(|(id, _)| *id);
        let mut snapshot = tree.snapshot(parent.as_slice());
        snapshot.time = n as u64;
        let (id, _) = snapshot.encode().unwrap();
        let received = receive(repository, &pack(&tree.objects(&snapshot))).await;
        let moved = Advance {
            when: 10 * n as u64,
            ..advance(parent, id)
        };
        repository.advance(received.unwrap(), moved).await.unwrap();
        made.push((id, tree));
    }
    made
}

#[tokio::test]
async fn what_a_head_names_stays_and_the_rest_goes_after_the_grace_time() {
    let repository = tenant().await;
    let tree = Tree::numbered(300);
    let (id, _) = push(&repository, &tree, None).await.unwrap();
    // A push that was given up leaves its objects.
    let lost = Tree::new([("lost", "nobody names this")]);
    let given_up = repository.put(lost.objects(&lost.snapshot(&[]))).await;
    assert_eq!(given_up.unwrap().objects, 3);
    let digest = Digest::of(b"nobody names this");
    let first = gc(&repository, NOW, 100).await;
    assert_eq!((first.removed, first.waiting), (0, 3));
    let soon = gc(&repository, NOW + 99, 100).await;
    assert_eq!((soon.removed, soon.waiting), (0, 3));
    assert!(repository.object(&digest).await.unwrap().is_some());
    // Who is told that it is there has another grace time.
    let asked = repository.missing(&[prefix(&digest)]).await.unwrap();
    assert_eq!(asked, [false]);
    let later = gc(&repository, NOW + 100, 100).await;
    assert_eq!((later.removed, later.waiting), (2, 1));
    assert!(repository.object(&digest).await.unwrap().is_some());
    let second = gc(&repository, NOW + 200, 100).await;
    assert_eq!((second.removed, second.waiting), (1, 0));
    assert_eq!(repository.object(&digest).await.unwrap(), None);
    assert_eq!(
        repository.missing(&[prefix(&digest)]).await.unwrap(),
        [true]
    );
    complete(&repository, id, &tree).await;
    assert!(sound(&repository).await);
    assert_eq!(gc(&repository, NOW + 300, 100).await.removed, 0);
}

#[tokio::test]
async fn a_plan_changes_nothing() {
    let store = Store::in_memory();
    let repository = store.create_tenant("acme").await.unwrap();
    let lost = Tree::numbered(20);
    let stored = repository.put(lost.objects(&lost.snapshot(&[]))).await;
    let count = stored.unwrap().objects;
    for _ in 0..2 {
        let plan = repository.plan_gc(Keep::Heads, NOW, 0).await.unwrap();
        assert_eq!(plan.report.removed, count);
    }
    assert_eq!(gc(&repository, NOW, 0).await.removed, count);
    assert_eq!(store.blobs().list(None, 9).await.unwrap(), []);
    assert!(repository.is_vacant().await.unwrap());
}

#[tokio::test]
async fn a_branch_keeps_what_its_retention_says() {
    for (retention, kept) in [
        (Retention::All, 6),
        (Retention::Last(2), 2),
        (Retention::Last(0), 1),
        // The one before the head was the head until 50, the one before that until 40.
        (Retention::For(NOW - 50), 2),
        (Retention::For(NOW - 40), 3),
        (Retention::For(1), 1),
    ] {
        let repository = tenant().await;
        let made = history(&repository, 6).await;
        repository.set_retention("main", retention).await.unwrap();
        let report = gc(&repository, NOW, 0).await;
        assert_eq!(report.expired, 6 - kept, "{retention:?}");
        let (gone, stay) = made.split_at(6 - usize::try_from(kept).unwrap());
        for (id, tree) in stay {
            complete(&repository, *id, tree).await;
        }
        for (id, tree) in gone {
            assert!(repository.is_expired(*id).await.unwrap());
            let error = repository.snapshot(*id).await.unwrap_err();
            assert!(matches!(error, Error::Expired { id: named } if named == *id));
            let own = Digest::of(&tree.files["own"]);
            assert_eq!(repository.object(&own).await.unwrap(), None);
            assert!(repository.export(fetch(*id, None, true)).await.is_err());
        }
        let head = stay.last().unwrap().0;
        let log = repository.log(head, 100).await.unwrap();
        assert_eq!(log.len(), stay.len(), "history ends where it is not kept");
        assert!(sound(&repository).await);
        // The branch goes on from there.
        let next = Tree::new([("next", "next")]);
        let (id, advanced) = push(&repository, &next, Some(head)).await.unwrap();
        assert_eq!(advanced, Advanced::Moved);
        complete(&repository, id, &next).await;
    }
}

#[tokio::test]
async fn an_expired_parent_vouches_for_nothing_and_may_be_named() {
    let repository = tenant().await;
    let made = history(&repository, 3).await;
    repository
        .set_retention("main", Retention::Last(1))
        .await
        .unwrap();
    gc(&repository, NOW, 0).await;
    let (old, _) = made[0];
    let tree = &made[0].1;
    // Its tree once more, as another snapshot whose first parent is gone: all of it has to come.
    let mut snapshot = tree.snapshot(&[old, made[2].0]);
    snapshot.message = "back".into();
    let (id, bytes) = snapshot.encode().unwrap();
    let received = receive(&repository, &pack(&[(Class::Nodes, bytes)]))
        .await
        .unwrap();
    let refused = repository
        .advance(received, advance(Some(made[2].0), id))
        .await;
    assert!(matches!(refused, Err(Error::Incomplete { .. })));
    let received = receive(&repository, &pack(&tree.objects(&snapshot)))
        .await
        .unwrap();
    let moved = repository
        .advance(received, advance(Some(made[2].0), id))
        .await;
    assert_eq!(moved.unwrap(), Advanced::Moved);
    complete(&repository, id, tree).await;
    assert!(sound(&repository).await);
}

/// A head that was left a moment ago may be what somebody is fetching.
#[tokio::test]
async fn what_was_a_head_within_the_grace_time_is_kept() {
    let repository = tenant().await;
    let made = history(&repository, 3).await;
    repository
        .set_retention("main", Retention::Last(1))
        .await
        .unwrap();
    assert_eq!(gc(&repository, 25, 10).await.expired, 1);
    assert!(repository.is_accepted(made[1].0).await.unwrap());
    assert_eq!(gc(&repository, 30, 10).await.expired, 1);
    assert!(!repository.is_accepted(made[1].0).await.unwrap());
}

#[tokio::test]
async fn small_packs_are_merged_and_nobody_else_loses_them() {
    let store = Store::in_memory();
    let repository = store.create_tenant("acme").await.unwrap();
    let other = store.create_tenant("other").await.unwrap();
    let made = history(&repository, 20).await;
    let theirs = history(&other, 3).await;
    let before = store.blobs().list(None, 99).await.unwrap().len();
    assert_eq!(before, 20);
    let report = gc(&repository, NOW, 0).await;
    assert_eq!((report.packs_rewritten, report.removed), (20, 0));
    // One pack instead of twenty; the other tenant has three of those still.
    assert_eq!(store.blobs().list(None, 99).await.unwrap().len(), 4);
    for (id, tree) in &made {
        complete(&repository, *id, tree).await;
    }
    for (id, tree) in &theirs {
        complete(&other, *id, tree).await;
    }
    assert!(sound(&repository).await && sound(&other).await);
    assert_eq!(gc(&repository, NOW, 0).await.packs_rewritten, 0);
}

#[tokio::test]
async fn a_sparse_pack_is_rewritten_and_an_export_goes_on() {
    let repository = tenant().await;
    let big = Tree::numbered(600);
    let (first, _) = push(&repository, &big, None).await.unwrap();
    let small = Tree::of(big.files.clone().into_iter().take(30).collect());
    let (id, _) = push(&repository, &small, Some(first)).await.unwrap();
    repository
        .set_retention("main", Retention::Last(1))
        .await
        .unwrap();
    // It has looked up where its objects are, and reads when the packs are others.
    let export = repository.export(fetch(id, None, true)).await.unwrap();
    let report = gc(&repository, NOW, 0).await;
    assert!(report.packs_rewritten > 0 && report.removed_bytes > 50_000);
    let exported = unpack(&collect(export).await.unwrap());
    assert_eq!(exported.len(), small.objects(&small.snapshot(&[])).len());
    complete(&repository, id, &small).await;
}

/// Pushes that share objects with what is being collected, without any grace: none ends with a head that lacks something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_and_collections_at_once_leave_nothing_missing() {
    let repository = tenant().await;
    let (mut head, _) = push(&repository, &Tree::numbered(30), None).await.unwrap();
    repository
        .set_retention("main", Retention::Last(1))
        .await
        .unwrap();
    let collector = {
        let repository = repository.clone();
        tokio::spawn(async move {
            for _ in 0..40 {
                gc(&repository, NOW, 0).await;
                tokio::task::yield_now().await;
            }
        })
    };
    for n in 0..30usize {
        // Every other tree comes again and again, so its objects are always about to go.
        let tree = Tree::numbered(60 + 30 * (n % 2));
        let mut snapshot = tree.snapshot(&[head]);
        snapshot.time = n as u64;
        let (id, _) = snapshot.encode().unwrap();
        let objects = tree.objects(&snapshot);
        let prefixes: Vec<_> = objects
            .iter()
            .map(|(_, o)| prefix(&Digest::of(o)))
            .collect();
        let missing = repository.missing(&prefixes).await.unwrap();
        let mut sent: Vec<_> = objects
            .iter()
            .zip(missing)
            .filter(|(_, missing)| *missing)
            .map(|(object, _)| object.clone())
            .collect();
        loop {
            let received = if sent.is_empty() {
                Received::nothing()
            } else {
                receive(&repository, &pack(&sent)).await.unwrap()
            };
            match repository.advance(received, advance(Some(head), id)).await {
                Ok(advanced) => {
                    assert_eq!(advanced, Advanced::Moved);
                    break;
                }
                // Without a grace time what was there may be gone: it is named, and sent again.
                Err(Error::Incomplete { .. }) => sent.clone_from(&objects),
                Err(error) => panic!("{error:?}"),
            }
        }
        head = id;
        complete(&repository, id, &tree).await;
    }
    collector.await.unwrap();
    assert!(sound(&repository).await);
}

/// Flips a byte in the middle of every pack.
fn damage(dir: &std::path::Path) -> usize {
    let mut damaged = 0;
    for entry in std::fs::read_dir(dir.join("packs")).unwrap() {
        for file in std::fs::read_dir(entry.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(path, bytes).unwrap();
            damaged += 1;
        }
    }
    damaged
}

#[tokio::test]
async fn damage_is_found_named_and_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_dir(dir.path()).await.unwrap();
    let repository = store.create_tenant("acme").await.unwrap();
    let tree = Tree::numbered(700);
    let (id, _) = push(&repository, &tree, None).await.unwrap();
    let report = repository.verify(Keep::Heads).await.unwrap();
    assert!(report.is_sound() && report.damaged_packs.is_empty());
    let objects = tree.objects(&tree.snapshot(&[]));
    assert_eq!(report.objects, objects.len() as u64);
    drop((repository, store));
    assert_eq!(damage(dir.path()), 1);

    let store = Store::open_dir(dir.path()).await.unwrap();
    let repository = store.tenant("acme").await.unwrap().unwrap();
    let report = repository.verify(Keep::Heads).await.unwrap();
    assert!(!report.is_sound());
    assert_eq!(report.damaged_packs.len(), 1);
    let chunk = |kind| kind == DamageKind::Chunk;
    assert!(report.damaged.iter().all(|damage| chunk(damage.kind)));
    for damage in &report.damaged {
        assert_eq!(damage.snapshot, Some(id));
        assert!(tree.files.contains_key(damage.path.as_ref().unwrap()));
        assert!(tree.chunks.contains_key(&damage.digest));
    }
    // A collection does not touch what it cannot read, and a pack of everything repairs it.
    gc(&repository, NOW, 0).await;
    let whole = Bytes::from(pack(&objects));
    let stream = futures_util::stream::iter([Ok::<_, std::io::Error>(whole)]);
    let repaired = repository.repair(stream).await.unwrap();
    assert_eq!(repaired.objects, report.damaged_total);
    assert!(sound(&repository).await);
    complete(&repository, id, &tree).await;
}

#[tokio::test]
async fn a_lost_pack_is_found_and_the_very_same_pack_repairs_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_dir(dir.path()).await.unwrap();
    let repository = store.create_tenant("acme").await.unwrap();
    let nodes: Vec<_> = (0..9u8).map(|n| (Class::Nodes, vec![n; 40])).collect();
    assert_eq!(repository.put(nodes.clone()).await.unwrap().objects, 9);
    let roots = || Keep::Roots {
        snapshots: Vec::new(),
        maps: Vec::new(),
        tables: Vec::new(),
    };
    assert_eq!(repository.verify(roots()).await.unwrap().objects, 9);
    damage(dir.path());
    let report = repository.verify(roots()).await.unwrap();
    assert_eq!((report.objects, report.unneeded), (0, 9));
    assert_eq!(repository.damaged_objects().await.unwrap().len(), 9);
    let good: Vec<_> = nodes
        .into_iter()
        .map(|(class, bytes)| (class, Bytes::from(bytes)))
        .collect();
    assert_eq!(repository.repair_objects(good.clone()).await.unwrap(), 9);
    assert_eq!(repository.repair_objects(good.clone()).await.unwrap(), 0);
    let report = repository.verify(roots()).await.unwrap();
    assert_eq!((report.objects, report.unneeded), (9, 0));
    std::fs::remove_dir_all(dir.path().join("packs")).unwrap();
    std::fs::create_dir_all(dir.path().join("packs/tmp")).unwrap();
    assert_eq!(repository.verify(roots()).await.unwrap().objects, 0);
    assert_eq!(repository.repair_objects(good).await.unwrap(), 9);
    let digest = Digest::of(&[3; 40]);
    assert!(repository.object(&digest).await.unwrap().is_some());
    repository.forget(&[digest]).await.unwrap();
    assert_eq!(repository.object(&digest).await.unwrap(), None);
}

/// A node that cannot be read hides what it names: nothing is removed then.
#[tokio::test]
async fn a_collection_stops_at_damage_to_what_it_must_follow() {
    let repository = tenant().await;
    let tree = Tree::numbered(100);
    push(&repository, &tree, None).await.unwrap();
    repository.forget(&[tree.root.unwrap()]).await.unwrap();
    let refused = repository.plan_gc(Keep::Heads, NOW, 0).await;
    assert!(matches!(refused, Err(Error::Corrupt { .. })));
    let report = repository.verify(Keep::Heads).await.unwrap();
    assert_eq!(report.damaged_total, 1);
    assert_eq!(report.damaged[0].kind, DamageKind::Node);
    // A workspace's own store keeps what it has of its roots.
    let keep = Keep::Roots {
        snapshots: Vec::new(),
        maps: vec![tree.root.unwrap()],
        tables: Vec::new(),
    };
    assert!(repository.plan_gc(keep, NOW, 0).await.is_ok());
}

#[tokio::test]
async fn a_branch_that_was_removed_can_be_made_again_until_the_grace_is_over() {
    let repository = tenant().await;
    let main = Tree::new([("kept", "by main")]);
    let (main, _) = push(&repository, &main, None).await.unwrap();
    let mut trial = vec![main];
    for n in 0..3 {
        let tree = Tree::new([("trial", format!("version {n}").as_str())]);
        let snapshot = tree.snapshot(&trial[n..]);
        let (id, _) = snapshot.encode().unwrap();
        let received = receive(&repository, &pack(&tree.objects(&snapshot))).await;
        let moved = Advance {
            branch: "trial".into(),
            when: 10,
            ..advance((n > 0).then(|| trial[n]), id)
        };
        repository.advance(received.unwrap(), moved).await.unwrap();
        trial.push(id);
    }
    let head = trial[3];
    let removed = repository.remove_branch("trial", head, NOW).await.unwrap();
    assert_eq!(removed, Removed::Gone);
    gc(&repository, NOW + 50, 100).await;
    for id in &trial {
        assert!(repository.is_accepted(*id).await.unwrap());
    }
    let again = Advance {
        branch: "trial".into(),
        ..advance(None, head)
    };
    let nothing = repository.prepare([]).await.unwrap();
    let made = repository.advance(nothing, again).await.unwrap();
    assert_eq!(made, Advanced::Moved);
    assert!(sound(&repository).await);
    repository
        .remove_branch("trial", head, NOW + 60)
        .await
        .unwrap();
    let gone = gc(&repository, NOW + 160, 100).await;
    assert_eq!((gone.expired, gone.snapshots), (3, 1));
    gc(&repository, NOW + 260, 100).await;
    assert_eq!(repository.object(&head.0).await.unwrap(), None);
    assert!(sound(&repository).await);
}
