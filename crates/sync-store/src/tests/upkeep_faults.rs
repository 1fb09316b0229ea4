//! What stands after a collection or a repair that failed, or whose process died, at every call to the ports.

use std::path::Path;

use bytes::Bytes;
use sync_core::SnapshotId;

use super::faults::{copy, open, open_faulty};
use super::fixture::{Tree, complete, push};
use super::upkeep::gc;
use crate::contract::Fault;
use crate::protocol::Retention;
use crate::{Advanced, Keep, Repository, Store};

/// What is kept is whole, one more collection ends what was begun, and pushes go on.
async fn check(dir: &Path, head: SnapshotId, tree: &Tree, at: &str) {
    let repository = open(dir).await;
    assert_eq!(repository.head("main").await.unwrap(), Some(head), "{at}");
    let found = repository.verify(Keep::Heads).await.unwrap();
    assert!(found.is_sound(), "{at}: {found:?}");
    complete(&repository, head, tree).await;
    gc(&repository, 1000, 0).await;
    let found = repository.verify(Keep::Heads).await.unwrap();
    assert!(found.is_sound(), "{at}: {found:?}");
    assert_eq!(found.snapshots, 1, "{at}");
    complete(&repository, head, tree).await;
    let kept = found.objects;
    let objects = tree.objects(&tree.snapshot(&[]));
    assert_eq!(kept, objects.len() as u64, "{at}: something is left over");
    let back = Tree::numbered(250);
    let (id, advanced) = push(&repository, &back, Some(head)).await.unwrap();
    assert_eq!(advanced, Advanced::Moved, "{at}");
    complete(&repository, id, &back).await;
}

async fn every_call(fault: Fault) {
    let origin = tempfile::tempdir().unwrap();
    let store = Store::open_dir(origin.path()).await.unwrap();
    let repository = store.create_tenant("acme").await.unwrap();
    let (old, _) = push(&repository, &Tree::numbered(250), None).await.unwrap();
    let mut files = Tree::numbered(60).files;
    files.insert("more".into(), b"more".to_vec());
    let tree = Tree::of(files);
    let (head, _) = push(&repository, &tree, Some(old)).await.unwrap();
    repository
        .set_retention("main", Retention::Last(1))
        .await
        .unwrap();
    drop((store, repository));
    let mut nth = 1;
    loop {
        let at = format!("call {nth}, {fault:?}");
        let (dir, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        copy(origin.path(), dir.path());
        let (repository, faults) = open_faulty(dir.path(), nth, fault).await;
        let collected = async {
            let plan = repository.plan_gc(Keep::Heads, 1000, 0).await?;
            repository.apply_gc(plan).await
        };
        let collected = collected.await;
        if faults.calls() <= nth {
            let report = collected.unwrap();
            assert!(report.removed > 0 && report.packs_rewritten > 0, "{at}");
            break;
        }
        assert!(collected.is_err(), "{at}");
        copy(dir.path(), killed.path());
        drop(repository);
        check(killed.path(), head, &tree, &at).await;
        check(dir.path(), head, &tree, &at).await;
        nth += 1;
    }
    assert!(nth > 25, "only {nth} calls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_of_which_a_call_does_nothing_and_fails() {
    every_call(Fault::Before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_of_which_a_call_does_its_work_and_then_fails() {
    every_call(Fault::After).await;
}

/// A repair that failed has repaired all or nothing, and is made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_that_fails_is_made_again() {
    let tree = Tree::new([("a", "1"), ("b", "2")]);
    let snapshot = tree.snapshot(&[]);
    let objects = || {
        let objects = tree.objects(&snapshot).into_iter();
        objects
            .map(|(class, bytes)| (class, Bytes::from(bytes)))
            .collect::<Vec<_>>()
    };
    for fault in [Fault::Before, Fault::After] {
        for nth in 1.. {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open_dir(dir.path()).await.unwrap();
            let repository = store.create_tenant("acme").await.unwrap();
            push(&repository, &tree, None).await.unwrap();
            repository.forget(&[tree.root.unwrap()]).await.unwrap();
            drop((store, repository));
            let (repository, faults) = open_faulty(dir.path(), nth, fault).await;
            let failed = repository.repair_objects(objects()).await.is_err();
            let calls = faults.calls();
            drop(repository);
            let repository: Repository = open(dir.path()).await;
            repository.repair_objects(objects()).await.unwrap();
            assert!(repository.verify(Keep::Heads).await.unwrap().is_sound());
            if calls <= nth {
                assert!(!failed);
                break;
            }
        }
    }
}
