//! What every catalogue must do for upkeep.

use std::slice::from_ref;

use sync_core::Digest;

use super::catalogue_suite::{change, digest, id, pack, place};
use crate::Error;
use crate::catalogue::{Catalogue, Expected, Location, StoredObject, Sweep};
use crate::protocol::{Retention, prefix};

/// Lists, removals, and what a push is told of them.
pub(super) async fn upkeep(catalogue: &dyn Catalogue) -> Result<(), Error> {
    removals(catalogue).await?;
    packs(catalogue).await?;
    let tenant = catalogue.create_tenant("retention").await?.id;
    assert_eq!(catalogue.retention(tenant, "main").await?, Retention::All);
    catalogue
        .set_retention(tenant, "main", Retention::Last(3))
        .await?;
    catalogue
        .set_retention(tenant, "dev", Retention::For(9))
        .await?;
    assert_eq!(
        catalogue.retention(tenant, "main").await?,
        Retention::Last(3)
    );
    assert_eq!(catalogue.retention(tenant, "dev").await?, Retention::For(9));
    Ok(())
}

async fn removals(catalogue: &dyn Catalogue) -> Result<(), Error> {
    let tenant = catalogue.create_tenant("removals").await?.id;
    let first = change("main", Expected::Is(None), id(1), 1);
    catalogue
        .commit(tenant, &[pack(1, &[1, 2, 3])], from_ref(&first))
        .await?;
    let marks = catalogue.marks(tenant).await?;
    assert_eq!(marks.moves, 1);
    catalogue
        .condemn(tenant, &[digest(1), digest(2)], 10)
        .await?;
    // The first time counts, and who was spared is not removed.
    catalogue.condemn(tenant, &[digest(1)], 20).await?;
    catalogue
        .spare(tenant, &[prefix(&digest(2)), prefix(&digest(9))])
        .await?;
    let sweep = |moves, until| Sweep {
        moves,
        expire: vec![id(1)],
        remove: [1, 2, 3].map(digest).to_vec(),
        until,
    };
    assert!(!catalogue.sweep(tenant, &sweep(0, 10)).await?);
    assert_eq!(catalogue.marks(tenant).await?, marks);
    assert_eq!(catalogue.accepted(tenant, &[id(1)]).await?, [true]);
    let mut early = sweep(1, 9);
    early.expire.clear();
    assert!(catalogue.sweep(tenant, &early).await?);
    assert_eq!(catalogue.marks(tenant).await?, marks);
    assert!(catalogue.sweep(tenant, &sweep(1, 10)).await?);
    let found = catalogue.locate(tenant, &[1, 2, 3].map(digest)).await?;
    let there: Vec<_> = found.iter().map(Option::is_some).collect();
    assert_eq!(there, [false, true, true]);
    assert_eq!(catalogue.accepted(tenant, &[id(1)]).await?, [false]);
    assert_eq!(
        catalogue.expired(tenant, &[id(1), id(2)]).await?,
        [true, false]
    );

    // A push that looked before is told so; its pack is recorded all the same, and what was removed comes back.
    let mut late = change("main", Expected::Is(Some(id(1))), id(2), 2);
    late.generation = Some(marks.generation);
    let refused = catalogue
        .commit(tenant, &[pack(1, &[1, 2, 3])], from_ref(&late))
        .await;
    assert!(matches!(refused, Err(Error::Collected)), "{refused:?}");
    assert_eq!(catalogue.head(tenant, "main").await?, Some(id(1)));
    let found = catalogue.locate(tenant, &[digest(1)]).await?;
    assert!(found[0].is_some());
    late.generation = Some(catalogue.marks(tenant).await?.generation);
    catalogue.commit(tenant, &[], from_ref(&late)).await?;
    assert_eq!(catalogue.head(tenant, "main").await?, Some(id(2)));
    // What is accepted again is not expired any more.
    let back = change("main", Expected::Any, id(1), 3);
    catalogue.commit(tenant, &[], from_ref(&back)).await?;
    assert_eq!(catalogue.expired(tenant, &[id(1)]).await?, [false]);
    Ok(())
}

async fn packs(catalogue: &dyn Catalogue) -> Result<(), Error> {
    let tenant = catalogue.create_tenant("packs").await?.id;
    let other = catalogue.create_tenant("packs-other").await?.id;
    catalogue
        .commit(tenant, &[pack(201, &[1, 2]), pack(202, &[3])], &[])
        .await?;
    catalogue.commit(other, &[pack(202, &[3])], &[]).await?;
    let listed = catalogue.packs(tenant, 0, 9).await?;
    let names: Vec<_> = listed.iter().map(|pack| pack.name).collect();
    assert_eq!(names, [digest(201), digest(202)]);
    assert_eq!(listed[0].objects, 2);
    assert_eq!(
        catalogue.packs(tenant, listed[1].number, 9).await?,
        listed[1..]
    );
    assert_eq!(catalogue.packs(tenant, 0, 1).await?, listed[..1]);

    catalogue.condemn(tenant, &[digest(2)], 5).await?;
    let object = |n, number, pack, condemned| StoredObject {
        digest: digest(n),
        number,
        location: Location {
            pack: digest(pack),
            place: place(pack, n),
        },
        condemned,
    };
    let (a, b) = (listed[0].number, listed[1].number);
    let mut all = [
        object(1, a, 201, None),
        object(2, a, 201, Some(5)),
        object(3, b, 202, None),
    ];
    all.sort_unstable_by_key(|object| object.digest);
    assert_eq!(catalogue.objects(tenant, None, 9).await?, all);
    assert_eq!(catalogue.objects(tenant, None, 2).await?, all[..2]);
    let after = Some(all[0].digest);
    assert_eq!(catalogue.objects(tenant, after, 9).await?, all[1..]);

    // Copies take the places of objects in the packs that are named, and of no others; replacements of all.
    catalogue
        .repack(tenant, &[a], &pack(203, &[1, 3, 4]))
        .await?;
    let at = |pack: u64, n: u64| {
        Some(Location {
            pack: digest(pack),
            place: place(pack, n),
        })
    };
    let wanted = [1, 2, 3, 4].map(digest);
    let found = catalogue.locate(tenant, &wanted).await?;
    assert_eq!(found, [at(203, 1), at(201, 2), at(202, 3), None]);
    catalogue.replace(tenant, &pack(202, &[2, 3, 4])).await?;
    let found = catalogue.locate(tenant, &wanted).await?;
    assert_eq!(found, [at(203, 1), at(202, 2), at(202, 3), at(202, 4)]);

    // A pack is known as long as somebody has it under some number, and no number is given again.
    let last = catalogue.packs(tenant, 0, 9).await?;
    let numbers: Vec<_> = last.iter().map(|pack| pack.number).collect();
    catalogue.retire(tenant, &[a, b]).await?;
    let names: [Digest; 3] = [201, 202, 203].map(digest);
    assert_eq!(catalogue.recorded(&names).await?, [false, true, true]);
    assert_eq!(catalogue.locate(tenant, &wanted).await?, found);
    let rest: Vec<_> = numbers
        .into_iter()
        .filter(|n| ![a, b].contains(n))
        .collect();
    let top = rest.iter().max().copied().unwrap_or_default();
    catalogue.retire(tenant, &rest).await?;
    assert_eq!(catalogue.recorded(&names).await?, [false, true, false]);
    assert!(catalogue.is_vacant(tenant).await?);
    catalogue.commit(tenant, &[pack(204, &[7])], &[]).await?;
    let next = catalogue.packs(tenant, 0, 9).await?;
    assert!(next[0].number > top, "number {} twice", next[0].number);
    Ok(())
}
