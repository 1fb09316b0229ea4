//! What stands after a failure, or after the process died, at every call to the ports.

use std::path::Path;
use std::sync::Arc;

use sync_core::SnapshotId;

use super::fixture::{Tree, complete, pack, push, receive};
use crate::blobs::DirBlobs;
use crate::catalogue::RedbCatalogue;
use crate::contract::{Fault, Faults, FaultyBlobs, FaultyCatalogue};
use crate::{Advanced, Repository, Store};

/// Small, so that a push stores several packs on its way.
const ROLL: u64 = 60_000;

pub(super) async fn open(dir: &Path) -> Repository {
    let store = Store::open_dir(dir).await.unwrap();
    store
        .tenant("acme")
        .await
        .unwrap()
        .unwrap()
        .rolling_at(ROLL)
}

/// The store in `dir` with one call that fails; the tenant is looked up before calls are counted.
pub(super) async fn open_faulty(dir: &Path, nth: u64, fault: Fault) -> (Repository, Arc<Faults>) {
    let faults = Faults::at(nth + 1, fault);
    let blobs = DirBlobs::open(&dir.join("packs")).unwrap();
    let catalogue = RedbCatalogue::open(&dir.join("catalogue.redb")).unwrap();
    let store = Store::new(
        Arc::new(FaultyBlobs::new(Arc::new(blobs), Arc::clone(&faults))),
        Arc::new(FaultyCatalogue::new(
            Arc::new(catalogue),
            Arc::clone(&faults),
        )),
    );
    let repository = store.tenant("acme").await.unwrap().unwrap();
    (repository.rolling_at(ROLL), faults)
}

/// A copy of everything as the operating system sees it at this moment: what a process leaves that is killed now.
pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The head is the old one or the new one, everything it names is there, and pushing again succeeds.
async fn check(dir: &Path, base: (SnapshotId, &Tree), next: &Tree, at: &str) {
    let repository = open(dir).await;
    let head = repository.head("main").await.unwrap().unwrap();
    if head == base.0 {
        complete(&repository, head, base.1).await;
    } else {
        complete(&repository, head, next).await;
    }
    let (id, advanced) = push(&repository, next, Some(base.0)).await.unwrap();
    assert!(head == base.0 || head == id, "{at}");
    let expected = if head == id {
        Advanced::Already
    } else {
        Advanced::Moved
    };
    assert_eq!(advanced, expected, "{at}");
    complete(&repository, id, next).await;
    assert_eq!(repository.head_moves(9).await.unwrap().len(), 2, "{at}");
}

async fn every_call(fault: Fault) {
    let origin = tempfile::tempdir().unwrap();
    let base = Tree::numbered(300);
    let store = Store::open_dir(origin.path()).await.unwrap();
    let repository = store.create_tenant("acme").await.unwrap();
    let (old, _) = push(&repository, &base, None).await.unwrap();
    drop((store, repository));
    let mut files = base.files.clone();
    let more = Tree::numbered(900).files.into_iter().skip(200);
    files.extend(more.map(|(path, bytes)| (format!("more/{path}"), bytes)));
    let next = Tree::of(files);

    let mut nth = 1;
    loop {
        let at = format!("call {nth}, {fault:?}");
        let (dir, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        copy(origin.path(), dir.path());
        let (repository, faults) = open_faulty(dir.path(), nth, fault).await;
        let pushed = push(&repository, &next, Some(old)).await;
        if faults.calls() <= nth {
            assert!(pushed.is_ok(), "{at}");
            break;
        }
        assert!(pushed.is_err(), "{at}");
        copy(dir.path(), killed.path());
        drop(repository);
        check(killed.path(), (old, &base), &next, &at).await;
        check(dir.path(), (old, &base), &next, &at).await;
        nth += 1;
    }
    assert!(nth > 15, "only {nth} calls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_does_nothing_and_fails() {
    every_call(Fault::Before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_does_its_work_and_then_fails() {
    every_call(Fault::After).await;
}

/// An export that fails in the middle says so: its pack has no end.
#[tokio::test]
async fn an_export_that_fails_has_no_end() {
    let dir = tempfile::tempdir().unwrap();
    let tree = Tree::numbered(600);
    let store = Store::open_dir(dir.path()).await.unwrap();
    let repository = store.create_tenant("acme").await.unwrap();
    let (id, _) = push(&repository, &tree, None).await.unwrap();
    let whole = super::fixture::collect(
        repository
            .export(super::fixture::fetch(id, None, true))
            .await
            .unwrap(),
    )
    .await;
    let whole = super::fixture::unpack(&whole.unwrap());
    drop((store, repository));
    for nth in 1.. {
        let (repository, faults) = open_faulty(dir.path(), nth, Fault::Before).await;
        let exported = async {
            super::fixture::collect(
                repository
                    .export(super::fixture::fetch(id, None, true))
                    .await?,
            )
            .await
        };
        match exported.await {
            Err(_) => assert!(faults.calls() > nth),
            Ok(exported) => {
                assert!(faults.calls() <= nth);
                assert_eq!(super::fixture::unpack(&exported), whole);
                break;
            }
        }
    }
}

/// What was acknowledged survives a kill at any time: the directory is copied while it is open.
#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_dir(dir.path()).await.unwrap();
    let repository = store.create_tenant("acme").await.unwrap();
    let mut head = None;
    for n in 1..5 {
        let tree = Tree::numbered(n * 100);
        let snapshot = tree.snapshot(head.as_slice());
        let received = receive(&repository, &pack(&tree.objects(&snapshot)))
            .await
            .unwrap();
        let (id, _) = snapshot.encode().unwrap();
        let advance = super::fixture::advance(head, id);
        repository.advance(received, advance).await.unwrap();
        head = Some(id);
        let killed = tempfile::tempdir().unwrap();
        copy(dir.path(), killed.path());
        let reopened = open(killed.path()).await;
        assert_eq!(reopened.head("main").await.unwrap(), head);
        complete(&reopened, id, &tree).await;
    }
}
