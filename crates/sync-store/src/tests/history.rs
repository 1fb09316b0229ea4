//! Snapshots by name and in order.

use sync_core::SnapshotId;

use super::fixture::{Tree, advance, pack, push, receive, tenant};
use crate::{Advanced, Class, Error};

#[tokio::test]
async fn history_is_listed_from_any_snapshot_on() {
    let repository = tenant().await;
    let mut ids: Vec<SnapshotId> = Vec::new();
    for n in 0..5 {
        let tree = Tree::new([("a", format!("{n}").as_str())]);
        let (id, _) = push(&repository, &tree, ids.last().copied()).await.unwrap();
        ids.push(id);
    }
    let listed = async |from: usize, limit| {
        let log = repository.log(ids[from], limit).await.unwrap();
        log.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    };
    let newest_first: Vec<_> = ids.iter().rev().copied().collect();
    assert_eq!(listed(4, 10).await, newest_first);
    assert_eq!(listed(4, 2).await, newest_first[..2]);
    assert_eq!(listed(2, 10).await, newest_first[2..]);
    assert_eq!(listed(2, 0).await, []);

    let full = ids[1].to_string();
    assert_eq!(repository.resolve(&full).await.unwrap(), [ids[1]]);
    assert_eq!(repository.resolve(&full[..12]).await.unwrap(), [ids[1]]);
    for none in ["", "xyz", &full.to_uppercase(), &format!("{full}0"), "ü"] {
        assert_eq!(repository.resolve(none).await.unwrap(), [], "{none}");
    }
    let unknown = SnapshotId(sync_core::Digest::of(b"unknown"));
    let error = repository.log(unknown, 1).await.unwrap_err();
    assert!(matches!(error, Error::UnknownSnapshot { id } if id == unknown));
}

/// A snapshot, and everything that it names.
type Made = (SnapshotId, Vec<(Class, Vec<u8>)>);

/// Trees of one file, each after the one before, with everything that they name.
fn lineage(count: usize) -> Vec<Made> {
    let mut made: Vec<Made> = Vec::new();
    for n in 0..count {
        let tree = Tree::new([("a", format!("version {n}").as_str())]);
        let parents: Vec<SnapshotId> = made.last().iter().map(|(id, _)| *id).collect();
        let snapshot = tree.snapshot(&parents);
        made.push((snapshot.encode().unwrap().0, tree.objects(&snapshot)));
    }
    made
}

#[tokio::test]
async fn a_push_brings_its_history_or_is_refused() {
    let made = lineage(4);
    let everything: Vec<_> = made
        .iter()
        .flat_map(|(_, objects)| objects.clone())
        .collect();
    let head = made[3].0;

    // Without the first one nobody knows where the second one comes from.
    let repository = tenant().await;
    let received = receive(&repository, &pack(&everything[made[0].1.len()..]))
        .await
        .unwrap();
    let refused = repository.advance(received, advance(None, head)).await;
    assert!(matches!(refused, Err(Error::UnknownSnapshot { id }) if id == made[0].0));

    // What one of them names is missing: it is told, what came is kept, and the rest completes it.
    let (_, last) = made[1]
        .1
        .iter()
        .find(|(class, _)| *class == Class::Contents)
        .unwrap();
    let lacking = sync_core::Digest::of(last);
    let rest: Vec<_> = everything
        .iter()
        .filter(|(_, object)| object != last)
        .cloned()
        .collect();
    let received = receive(&repository, &pack(&rest)).await.unwrap();
    let refused = repository.advance(received, advance(None, head)).await;
    assert!(matches!(refused, Err(Error::Incomplete { missing, .. }) if missing == [lacking]));
    assert_eq!(repository.head("main").await.unwrap(), None);
    let rest = pack(&[(Class::Contents, last.clone())]);
    let received = receive(&repository, &rest).await.unwrap();
    assert!(repository.comes_after(head, None).await.unwrap());
    assert!(!repository.comes_after(head, Some(made[0].0)).await.unwrap());
    let advanced = repository
        .advance(received, advance(None, head))
        .await
        .unwrap();
    assert_eq!(advanced, Advanced::Moved);
    let log = repository.log(head, 10).await.unwrap();
    let log: Vec<_> = log.into_iter().map(|(id, _)| id).collect();
    assert_eq!(log, [3, 2, 1, 0].map(|n: usize| made[n].0));

    // From where the other side is, the same in the two steps of a server with a database.
    let repository = tenant().await;
    let received = receive(&repository, &pack(&made[0].1)).await.unwrap();
    repository
        .advance(received, advance(None, made[0].0))
        .await
        .unwrap();
    let received = receive(&repository, &pack(&everything)).await.unwrap();
    let kept = repository.keep(received, head).await.unwrap();
    assert!(!repository.is_accepted(made[1].0).await.unwrap());
    assert!(repository.comes_after(head, Some(made[0].0)).await.unwrap());
    let nothing = repository.prepare([]).await.unwrap();
    let push = advance(Some(made[0].0), head);
    repository.advance_kept(nothing, push, kept).await.unwrap();
    for (id, _) in &made {
        assert!(repository.is_accepted(*id).await.unwrap());
    }
}
