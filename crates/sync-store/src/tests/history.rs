//! Snapshots by name and in order.

use sync_core::SnapshotId;

use super::fixture::{Tree, push, tenant};
use crate::Error;

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
