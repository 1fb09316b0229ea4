//! What every catalogue must do.

use std::slice::from_ref;

use sync_core::{Digest, SnapshotId};

use super::upkeep_suite::upkeep;
use crate::Error;
use crate::catalogue::{
    Advanced, BranchRemoval, Catalogue, Committed, Expected, HeadChange, HeadMove, Location,
    PackRecord, Place, Removed, TenantId, TokenRecord,
};
use crate::protocol::Retention;

/// Puts an empty catalogue through the contract.
///
/// # Panics
///
/// Where the adapter does not do as [`Catalogue`] says.
pub async fn catalogue(catalogue: &dyn Catalogue) {
    for result in [
        tenants_and_tokens(catalogue).await,
        objects(catalogue).await,
        heads(catalogue).await,
        notes(catalogue).await,
        one_transaction(catalogue).await,
        all_heads_or_none(catalogue).await,
        branches_that_go(catalogue).await,
        one_of_many_wins(catalogue).await,
        upkeep(catalogue).await,
    ] {
        assert!(result.is_ok(), "the contract met an error: {result:?}");
    }
}

pub(super) fn digest(n: u64) -> Digest {
    Digest::of(&n.to_le_bytes())
}

pub(super) fn id(n: u64) -> SnapshotId {
    SnapshotId(digest(n))
}

pub(super) fn pack(name: u64, objects: &[u64]) -> PackRecord {
    let mut objects: Vec<_> = objects
        .iter()
        .map(|n| (digest(*n), place(name, *n)))
        .collect();
    objects.sort_unstable_by_key(|(digest, _)| *digest);
    PackRecord {
        name: digest(name),
        len: 1000,
        objects,
    }
}

pub(super) fn place(pack: u64, object: u64) -> Place {
    let n = u32::try_from(pack * 1000 + object).unwrap_or_default();
    Place {
        block: n,
        block_len: u32::MAX - n,
        start: n + 1,
        len: n + 2,
    }
}

pub(super) fn change(
    branch: &str,
    expected: Expected,
    target: SnapshotId,
    when: u64,
) -> HeadChange {
    HeadChange {
        branch: branch.to_owned(),
        expected,
        target,
        history: Vec::new(),
        when,
        generation: None,
    }
}

async fn notes(catalogue: &dyn Catalogue) -> Result<(), Error> {
    let (one, other) = (
        catalogue.create_tenant("notes").await?.id,
        catalogue.create_tenant("other-notes").await?.id,
    );
    assert_eq!(catalogue.note(one, "epoch").await?, None);
    catalogue.set_note(one, "epoch", None).await?;
    let (long, empty) = (vec![7; 4000], Vec::new());
    catalogue.set_note(one, "epoch", Some(long.clone())).await?;
    catalogue
        .set_note(one, "epoch2", Some(empty.clone()))
        .await?;
    assert_eq!(catalogue.note(one, "epoch").await?, Some(long));
    assert_eq!(catalogue.note(one, "epoch2").await?, Some(empty.clone()));
    assert_eq!(catalogue.note(one, "epo").await?, None);
    assert_eq!(catalogue.note(other, "epoch").await?, None);
    catalogue
        .set_note(one, "epoch", Some(empty.clone()))
        .await?;
    assert_eq!(catalogue.note(one, "epoch").await?, Some(empty));
    catalogue.set_note(one, "epoch", None).await?;
    assert_eq!(catalogue.note(one, "epoch").await?, None);
    Ok(())
}

async fn tenants_and_tokens(catalogue: &dyn Catalogue) -> Result<(), Error> {
    assert_eq!(catalogue.tenants().await?, []);
    assert_eq!(catalogue.tenant("a").await?, None);
    let b = catalogue.create_tenant("b").await?;
    let a = catalogue.create_tenant("a").await?;
    assert_ne!(a.id, b.id);
    let again = catalogue.create_tenant("a").await;
    assert!(matches!(again, Err(Error::Exists { kind: "tenant", .. })));
    assert_eq!(catalogue.tenant("a").await?.as_ref(), Some(&a));
    assert_eq!(catalogue.tenants().await?, [a, b]);

    let token = |id: &str, tenant: &str| TokenRecord {
        id: id.to_owned(),
        tenant: tenant.to_owned(),
        scope: crate::protocol::Scope::Write,
        secret_hash: digest(1),
        label: Some("ci".to_owned()),
        created: 5,
        expires: Some(u64::MAX),
        revoked: None,
    };
    for (id, tenant) in [("t2", "a"), ("t1", "a"), ("t3", "b")] {
        catalogue.put_token(token(id, tenant)).await?;
    }
    let again = catalogue.put_token(token("t1", "b")).await;
    assert!(matches!(again, Err(Error::Exists { kind: "token", .. })));
    let nobody = catalogue.put_token(token("t4", "nobody")).await;
    assert!(matches!(nobody, Err(Error::UnknownTenant { .. })));
    assert_eq!(catalogue.token("t4").await?, None);
    assert_eq!(catalogue.token("t1").await?, Some(token("t1", "a")));
    assert_eq!(
        catalogue.tokens("a").await?,
        [token("t1", "a"), token("t2", "a")]
    );

    assert!(!catalogue.revoke_token("t4", 7).await?);
    assert!(catalogue.revoke_token("t1", 7).await?);
    // The first time counts.
    assert!(catalogue.revoke_token("t1", 9).await?);
    let revoked = catalogue.token("t1").await?.and_then(|token| token.revoked);
    assert_eq!(revoked, Some(7));
    Ok(())
}

async fn objects(catalogue: &dyn Catalogue) -> Result<(), Error> {
    let tenant = catalogue.create_tenant("objects").await?.id;
    let other = catalogue.create_tenant("other").await?.id;
    let at = |pack: u64, object: u64| {
        Some(Location {
            pack: digest(pack),
            place: place(pack, object),
        })
    };
    assert!(catalogue.is_vacant(tenant).await?);
    let none = catalogue.commit(tenant, &[], &[]).await?;
    assert_eq!(none, Committed::default());
    assert!(catalogue.is_vacant(tenant).await?);
    let packs = [pack(100, &[1, 2, 3]), pack(101, &[3, 4])];
    let added = async |packs: &[PackRecord]| {
        let committed = catalogue.commit(tenant, packs, &[]).await?;
        Ok::<_, Error>(committed.added)
    };
    assert_eq!(added(&packs).await?, 4);
    // The first place stays, in one transaction and in the next; the same pack once more changes nothing.
    assert_eq!(added(&[pack(102, &[1, 4, 5])]).await?, 1);
    assert_eq!(added(&packs).await?, 0);
    let wanted: Vec<_> = [5, 9, 1, 3, 4, 1].map(digest).to_vec();
    let found = catalogue.locate(tenant, &wanted).await?;
    let expected = [
        at(102, 5),
        None,
        at(100, 1),
        at(100, 3),
        at(101, 4),
        at(100, 1),
    ];
    assert_eq!(found, expected);
    assert_eq!(catalogue.locate(tenant, &[]).await?, []);

    let prefix = |n: u64| {
        let mut prefix = [0; 8];
        prefix.copy_from_slice(&digest(n).as_bytes()[..8]);
        prefix
    };
    let prefixes = [prefix(9), prefix(5), [0; 8], [0xff; 8], prefix(1)];
    let held = catalogue.holds(tenant, &prefixes).await?;
    assert_eq!(held, [false, true, false, false, true]);

    // Nobody sees what another tenant has, nor packs that it has in common.
    assert!(!catalogue.is_vacant(tenant).await?);
    assert!(catalogue.is_vacant(other).await?);
    assert_eq!(catalogue.locate(other, &[digest(1)]).await?, [None]);
    assert_eq!(catalogue.holds(other, &[prefix(1)]).await?, [false]);
    catalogue.commit(other, &packs[..1], &[]).await?;
    assert_eq!(catalogue.locate(other, &[digest(1)]).await?, [at(100, 1)]);
    Ok(())
}

/// A branch comes with its history, and goes with what it keeps.
async fn branches_that_go(catalogue: &dyn Catalogue) -> Result<(), Error> {
    let tenant = catalogue.create_tenant("branches").await?.id;
    let head = HeadChange {
        history: [1, 2].map(id).to_vec(),
        ..change("trial", Expected::Is(None), id(3), 1)
    };
    catalogue.commit(tenant, &[], from_ref(&head)).await?;
    let accepted = catalogue.accepted(tenant, &[1, 2, 3, 4].map(id)).await?;
    assert_eq!(accepted, [true, true, true, false]);
    let kept = Retention::Last(1);
    catalogue.set_retention(tenant, "trial", kept).await?;
    let removal = |branch: &str, expected| BranchRemoval {
        branch: branch.to_owned(),
        expected: id(expected),
        when: 2,
    };
    let marks = catalogue.marks(tenant).await?;
    let stale = Removed::Stale { head: Some(id(3)) };
    let outcome = catalogue.remove_head(tenant, &removal("trial", 2)).await?;
    assert_eq!(outcome, stale);
    assert_eq!(catalogue.marks(tenant).await?, marks);
    let outcome = catalogue.remove_head(tenant, &removal("trial", 3)).await?;
    assert_eq!(outcome, Removed::Gone);
    assert_eq!(catalogue.head(tenant, "trial").await?, None);
    assert_eq!(catalogue.heads(tenant).await?, []);
    let retention = catalogue.retention(tenant, "trial").await?;
    assert_eq!(retention, Retention::All);
    // A collection that runs meanwhile is told.
    assert_eq!(catalogue.marks(tenant).await?.moves, marks.moves + 1);
    let line = HeadMove {
        branch: "trial".to_owned(),
        from: Some(id(3)),
        to: id(3),
        when: 2,
    };
    assert_eq!(catalogue.head_moves(tenant, 1).await?, [line]);
    let outcome = catalogue.remove_head(tenant, &removal("trial", 3)).await?;
    assert_eq!(outcome, Removed::Stale { head: None });
    // What others no longer keep is known by name; what is accepted here stays so.
    catalogue.note_expired(tenant, &[3, 9].map(id)).await?;
    let expired = catalogue.expired(tenant, &[3, 8, 9].map(id)).await?;
    assert_eq!(expired, [false, false, true]);
    Ok(())
}

async fn heads(catalogue: &dyn Catalogue) -> Result<(), Error> {
    let tenant = catalogue.create_tenant("heads").await?.id;
    let next = catalogue.create_tenant("heads-next").await?.id;
    let none = Expected::Is(None);
    let is = |n| Expected::Is(Some(id(n)));
    let go = async |branch: &str, expected, target, when| {
        let change = change(branch, expected, target, when);
        let committed = catalogue.commit(tenant, &[], from_ref(&change)).await?;
        Ok::<_, Error>(committed.heads[0])
    };
    assert_eq!(catalogue.head(tenant, "main").await?, None);
    assert_eq!(
        go("main", is(1), id(2), 1).await?,
        Advanced::Stale { head: None }
    );
    assert_eq!(go("main", none, id(1), 2).await?, Advanced::Moved);
    assert_eq!(go("main", none, id(1), 3).await?, Advanced::Already);
    let stale = Advanced::Stale { head: Some(id(1)) };
    assert_eq!(go("main", none, id(2), 4).await?, stale);
    assert_eq!(go("main", is(2), id(3), 5).await?, stale);
    assert_eq!(go("main", is(1), id(2), 6).await?, Advanced::Moved);
    assert_eq!(go("dev", Expected::Any, id(5), 7).await?, Advanced::Moved);
    assert_eq!(go("dev", Expected::Any, id(1), 8).await?, Advanced::Moved);
    let foreign = change("main", none, id(9), 1);
    catalogue.commit(next, &[], from_ref(&foreign)).await?;

    assert_eq!(catalogue.head(tenant, "main").await?, Some(id(2)));
    let heads = [("dev".to_owned(), id(1)), ("main".to_owned(), id(2))];
    assert_eq!(catalogue.heads(tenant).await?, heads);
    let accepted = catalogue.accepted(tenant, &[1, 2, 3, 5, 9].map(id)).await?;
    assert_eq!(accepted, [true, true, false, true, false]);

    let line = |branch: &str, from: Option<u64>, to, when| HeadMove {
        branch: branch.to_owned(),
        from: from.map(id),
        to: id(to),
        when,
    };
    let lines = [
        line("dev", Some(5), 1, 8),
        line("dev", None, 5, 7),
        line("main", Some(1), 2, 6),
        line("main", None, 1, 2),
    ];
    assert_eq!(catalogue.head_moves(tenant, 100).await?, lines);
    assert_eq!(catalogue.head_moves(tenant, 3).await?, lines[..3]);
    assert_eq!(catalogue.head_moves(TenantId(u32::MAX), 3).await?, []);

    let mut ids = [1, 2, 5].map(id);
    ids.sort_unstable();
    let all = [0, 0xff].map(|byte| SnapshotId(Digest::from_bytes([byte; Digest::LEN])));
    let listed = async |first, last, limit| catalogue.snapshots(tenant, first, last, limit).await;
    assert_eq!(listed(all[0], all[1], 9).await?, ids);
    assert_eq!(listed(all[0], all[1], 2).await?, ids[..2]);
    assert_eq!(listed(ids[1], ids[2], 9).await?, ids[1..]);
    assert_eq!(listed(ids[2], ids[1], 9).await?, []);
    Ok(())
}

/// Packs and head are recorded together, the packs of a stale head too.
async fn one_transaction(catalogue: &dyn Catalogue) -> Result<(), Error> {
    let tenant = catalogue.create_tenant("transactions").await?.id;
    let moved = change("main", Expected::Is(None), id(1), 1);
    let stale = change("main", Expected::Is(None), id(2), 2);
    catalogue
        .commit(tenant, &[pack(1, &[1])], from_ref(&moved))
        .await?;
    let outcome = catalogue
        .commit(tenant, &[pack(2, &[2])], from_ref(&stale))
        .await?;
    let stale = Advanced::Stale { head: Some(id(1)) };
    assert_eq!((outcome.added, outcome.heads), (1, vec![stale]));
    let found = catalogue.locate(tenant, &[digest(1), digest(2)]).await?;
    assert!(found.iter().all(Option::is_some));
    assert_eq!(
        catalogue.accepted(tenant, &[id(1), id(2)]).await?,
        [true, false]
    );
    Ok(())
}

/// Heads that are given together move together or not at all.
async fn all_heads_or_none(catalogue: &dyn Catalogue) -> Result<(), Error> {
    let tenant = catalogue.create_tenant("together").await?.id;
    let none = Expected::Is(None);
    let go = async |changes: &[HeadChange]| catalogue.commit(tenant, &[], changes).await;
    let both = [
        change("dev", none, id(1), 1),
        change("main", none, id(2), 1),
    ];
    assert_eq!(go(&both).await?.heads, [Advanced::Moved; 2]);
    assert_eq!(go(&both).await?.heads, [Advanced::Already; 2]);
    assert_eq!(catalogue.head_moves(tenant, 9).await?.len(), 2);
    let half = [
        change("dev", Expected::Is(Some(id(1))), id(3), 2),
        change("main", none, id(3), 2),
        change("new", none, id(3), 2),
    ];
    let outcome = go(&half).await?;
    let stale = Advanced::Stale { head: Some(id(2)) };
    assert_eq!(outcome.heads[1], stale);
    let heads = [("dev".to_owned(), id(1)), ("main".to_owned(), id(2))];
    assert_eq!(catalogue.heads(tenant).await?, heads);
    assert_eq!(catalogue.accepted(tenant, &[id(3)]).await?, [false]);
    assert_eq!(catalogue.head_moves(tenant, 9).await?.len(), 2);
    let mut late = [half[0].clone(), half[2].clone()];
    late[1].generation = Some(catalogue.marks(tenant).await?.generation + 1);
    assert!(matches!(go(&late).await, Err(Error::Collected)));
    assert_eq!(catalogue.heads(tenant).await?, heads);
    Ok(())
}

async fn one_of_many_wins(catalogue: &dyn Catalogue) -> Result<(), Error> {
    let tenant = catalogue.create_tenant("race").await?.id;
    let racers = (0..8).map(|n| async move {
        let change = change("main", Expected::Is(None), id(n), n);
        let committed = catalogue.commit(tenant, &[], from_ref(&change)).await?;
        Ok::<_, Error>(committed.heads)
    });
    let outcomes = futures_util::future::try_join_all(racers).await?;
    let winners = outcomes.iter().filter(|one| **one == [Advanced::Moved]);
    assert_eq!(winners.count(), 1);
    assert_eq!(catalogue.head_moves(tenant, 10).await?.len(), 1);
    Ok(())
}
