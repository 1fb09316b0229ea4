//! Pushes as they should go.

use sync_core::Digest;

use super::fixture::{
    Tree, advance, collect, complete, fetch, pack, push, receive, tenant, unpack,
};
use crate::protocol::prefix;
use crate::{Advanced, Class, Error, Received, Store};

#[tokio::test]
async fn a_tree_is_pushed_and_everything_is_there() {
    let repository = tenant().await;
    assert!(repository.is_vacant().await.unwrap());
    let tree = Tree::numbered(2000);
    let (id, advanced) = push(&repository, &tree, None).await.unwrap();
    assert_eq!(advanced, Advanced::Moved);
    assert_eq!(repository.head("main").await.unwrap(), Some(id));
    assert!(!repository.is_vacant().await.unwrap());
    complete(&repository, id, &tree).await;

    let nodes = repository.nodes();
    let root = tree.root.unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let found = sync_core::map::verify(&nodes, root).unwrap();
        found.len
    });
    assert_eq!(read.await.unwrap(), 2000);
}

#[tokio::test]
async fn a_small_change_needs_only_what_is_new() {
    let repository = tenant().await;
    let tree = Tree::numbered(2000);
    let (first, _) = push(&repository, &tree, None).await.unwrap();
    let next = tree.with([
        ("dir03/file00003", Some("changed")),
        ("new/file", Some("added")),
        ("dir05/file00005", None),
    ]);
    let snapshot = next.snapshot(&[first]);
    let (id, _) = snapshot.encode().unwrap();
    let objects = next.objects(&snapshot);
    let digests: Vec<_> = objects
        .iter()
        .map(|(_, o)| prefix(&Digest::of(o)))
        .collect();
    let missing = repository.missing(&digests).await.unwrap();
    let fresh: Vec<_> = objects
        .into_iter()
        .zip(missing)
        .filter(|(_, m)| *m)
        .collect();
    let fresh: Vec<_> = fresh.into_iter().map(|(object, _)| object).collect();
    assert!((5..30).contains(&fresh.len()), "{} objects", fresh.len());
    let received = receive(&repository, &pack(&fresh)).await.unwrap();
    assert_eq!(received.objects, fresh.len() as u64);
    let advanced = repository.advance(received, advance(Some(first), id)).await;
    assert_eq!(advanced.unwrap(), Advanced::Moved);
    complete(&repository, id, &next).await;
}

#[tokio::test]
async fn a_repeated_push_and_a_rollback_are_success() {
    let repository = tenant().await;
    let tree = Tree::new([("a", "1")]);
    let (first, _) = push(&repository, &tree, None).await.unwrap();
    let (again, advanced) = push(&repository, &tree, None).await.unwrap();
    assert_eq!((again, advanced), (first, Advanced::Already));
    let next = Tree::new([("a", "2")]);
    let (second, _) = push(&repository, &next, Some(first)).await.unwrap();
    // Back to a snapshot that was accepted: nothing has to be sent.
    let back = advance(Some(second), first);
    let advanced = repository.advance(Received::nothing(), back).await;
    assert_eq!(advanced.unwrap(), Advanced::Moved);
    let moves = repository.head_moves(9).await.unwrap();
    let moves: Vec<_> = moves.into_iter().map(|line| (line.from, line.to)).collect();
    assert_eq!(
        moves,
        [(Some(second), first), (Some(first), second), (None, first)]
    );
}

#[tokio::test]
async fn the_loser_of_a_race_is_told_the_head_and_its_objects_stay() {
    let repository = tenant().await;
    let (first, _) = push(&repository, &Tree::new([("a", "1")]), None)
        .await
        .unwrap();
    let late = Tree::new([("b", "late")]);
    let (_, advanced) = push(&repository, &late, None).await.unwrap();
    assert_eq!(advanced, Advanced::Stale { head: Some(first) });
    assert_eq!(repository.head("main").await.unwrap(), Some(first));
    let kept = repository.object(&Digest::of(b"late")).await.unwrap();
    assert_eq!(kept.as_deref(), Some(&b"late"[..]));
}

#[tokio::test]
async fn many_pushes_at_once_move_the_head_one_after_the_other() {
    let repository = tenant().await;
    let racers = (0..6).map(|n| {
        let repository = repository.clone();
        tokio::spawn(async move {
            let tree = Tree::new([("a", format!("{n}").as_str())]);
            push(&repository, &tree, None).await.unwrap()
        })
    });
    let mut moved = 0;
    for racer in racers.collect::<Vec<_>>() {
        moved += usize::from(racer.await.unwrap().1 == Advanced::Moved);
    }
    assert_eq!(moved, 1);
    assert_eq!(repository.head_moves(10).await.unwrap().len(), 1);
}

/// Leaves out every `nth` object: the push names exactly what it lacks, and one more push with that repairs it.
#[tokio::test]
async fn an_incomplete_push_names_what_is_missing_and_is_repaired() {
    for nth in [2, 3, 7] {
        let repository = tenant().await;
        let tree = Tree::numbered(300);
        let snapshot = tree.snapshot(&[]);
        let (id, _) = snapshot.encode().unwrap();
        let (mut sent, mut left) = (Vec::new(), Vec::new());
        for (n, object) in tree.objects(&snapshot).into_iter().enumerate() {
            if n % nth == 1 { &mut left } else { &mut sent }.push(object);
        }
        let mut rounds = 0;
        loop {
            let received = receive(&repository, &pack(&sent)).await.unwrap();
            match repository.advance(received, advance(None, id)).await {
                Ok(advanced) => {
                    assert_eq!(advanced, Advanced::Moved);
                    break;
                }
                Err(Error::Incomplete { missing, total }) => {
                    assert_eq!(missing.len() as u64, total);
                    assert_eq!(repository.head("main").await.unwrap(), None);
                    let asked =
                        |(_, object): &(Class, Vec<u8>)| missing.contains(&Digest::of(object));
                    // What was received was kept: only what is named has to be sent.
                    sent = left
                        .iter()
                        .filter(|object| asked(object))
                        .cloned()
                        .collect();
                    assert_eq!(sent.len() as u64, total);
                    left.retain(|object| !asked(object));
                }
                Err(error) => panic!("{error:?}"),
            }
            rounds += 1;
            assert!(
                rounds < 5,
                "missing nodes hide what is below them, a few levels at most"
            );
        }
        complete(&repository, id, &tree).await;
    }
}

#[tokio::test]
async fn a_push_that_is_larger_than_a_stored_pack_is_rolled() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_dir(dir.path()).await.unwrap();
    let repository = store.create_tenant("acme").await.unwrap();
    let repository = repository.rolling_at(300_000);
    let tree = Tree::numbered(4000);
    let (id, advanced) = push(&repository, &tree, None).await.unwrap();
    assert_eq!(advanced, Advanced::Moved);
    complete(&repository, id, &tree).await;
    let packs = store.blobs().list(None, 99).await.unwrap().len();
    assert_eq!(packs, 5);
    let exported = collect(repository.export(fetch(id, None, true)).await.unwrap()).await;
    assert_eq!(
        unpack(&exported.unwrap()).len(),
        tree.objects(&tree.snapshot(&[])).len()
    );
}

#[tokio::test]
async fn what_is_stored_already_is_not_stored_again() {
    let store = Store::in_memory();
    let repository = store.create_tenant("acme").await.unwrap();
    let tree = Tree::numbered(500);
    push(&repository, &tree, None).await.unwrap();
    let before: u64 = store
        .blobs()
        .list(None, 9)
        .await
        .unwrap()
        .iter()
        .map(|(_, len)| len)
        .sum();
    push(&repository, &tree, None).await.unwrap();
    let after: u64 = store
        .blobs()
        .list(None, 9)
        .await
        .unwrap()
        .iter()
        .map(|(_, len)| len)
        .sum();
    assert_eq!(before, after);
    // Another tenant has objects of its own.
    let other = store.create_tenant("other").await.unwrap();
    let digest = Digest::of(tree.chunks.values().next().unwrap());
    assert_eq!(other.object(&digest).await.unwrap(), None);
    assert!(other.is_vacant().await.unwrap());
    push(&other, &tree, None).await.unwrap();
    assert!(other.object(&digest).await.unwrap().is_some());
}

#[tokio::test]
async fn a_workspace_store_holds_maps_without_contents() {
    let repository = tenant().await;
    let tree = Tree::numbered(300);
    let snapshot = tree.snapshot(&[]);
    let mut objects = tree.objects(&snapshot);
    objects.retain(|(class, _)| *class == Class::Nodes);
    let own = objects.clone();
    let prepared = repository.prepare(own).await.unwrap();
    assert_eq!(prepared.objects, objects.len() as u64);
    assert!(repository.is_vacant().await.unwrap());
    let (id, _) = snapshot.encode().unwrap();
    let adopted = repository.adopt(prepared, "base", id, 1).await.unwrap();
    assert_eq!(adopted, Advanced::Moved);
    assert_eq!(repository.head("base").await.unwrap(), Some(id));
    // All known by now: nothing to store.
    let again = repository.put(objects).await.unwrap();
    assert_eq!(again.objects, 0);
    let next = Tree::new([("a", "b")]).snapshot(&[id]);
    let unknown = repository
        .adopt(Received::nothing(), "base", next.encode().unwrap().0, 2)
        .await;
    assert!(matches!(unknown, Err(Error::UnknownObject { .. })));
    let next = repository.put_snapshot(&next).await.unwrap();
    repository
        .adopt(Received::nothing(), "base", next, 2)
        .await
        .unwrap();
    assert_eq!(repository.head("base").await.unwrap(), Some(next));
}

#[tokio::test]
async fn a_directory_is_held_by_one_and_the_refusal_names_him() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_dir(dir.path()).await.unwrap();
    let repository = store.create_tenant("acme").await.unwrap();
    let tree = Tree::numbered(100);
    let (id, _) = push(&repository, &tree, None).await.unwrap();
    match Store::open_dir(dir.path()).await {
        Err(Error::Held {
            holder: Some(holder),
            ..
        }) => {
            assert_eq!(holder.pid, std::process::id());
            assert!(holder.since > 1_700_000_000_000);
        }
        other => panic!("{other:?}"),
    }
    drop((store, repository));
    let store = Store::open_dir(dir.path()).await.unwrap();
    let repository = store.tenant("acme").await.unwrap().unwrap();
    assert_eq!(repository.head("main").await.unwrap(), Some(id));
    complete(&repository, id, &tree).await;
}
