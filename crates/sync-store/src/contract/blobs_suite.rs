//! What every blob store must do.

use bytes::Bytes;
use sync_core::Digest;

use crate::Error;
use crate::blobs::Blobs;

fn pack(n: u8) -> (Digest, Vec<Bytes>) {
    let parts = vec![
        Bytes::from(vec![n; 10]),
        Bytes::new(),
        Bytes::from(vec![n + 1; 5]),
    ];
    (Digest::of(&parts.concat()), parts)
}

/// Puts an empty blob store through the contract.
///
/// # Panics
///
/// Where the adapter does not do as [`Blobs`] says.
pub async fn blobs(blobs: &dyn Blobs) {
    let result = run(blobs).await;
    assert!(result.is_ok(), "the contract met an error: {result:?}");
}

async fn run(blobs: &dyn Blobs) -> Result<(), Error> {
    let mut packs: Vec<_> = (0..9).map(|n| pack(n * 7)).collect();
    packs.sort_unstable_by_key(|(name, _)| *name);
    assert_eq!(blobs.list(None, 10).await?, []);
    let (absent, _) = pack(200);
    assert_eq!(blobs.get(&absent, 0..1).await?, None);
    assert!(!blobs.delete(&absent).await?);

    for (name, parts) in &packs {
        blobs.put(name, parts).await?;
        // Once more is fine, and changes nothing.
        blobs.put(name, parts).await?;
    }
    for (name, parts) in &packs {
        let whole = parts.concat();
        let get = async |range: std::ops::Range<u64>| blobs.get(name, range).await;
        assert_eq!(get(0..15).await?.as_deref(), Some(&whole[..]));
        assert_eq!(get(9..12).await?.as_deref(), Some(&whole[9..12]));
        assert_eq!(get(15..15).await?.as_deref(), Some(&[][..]));
        assert!(matches!(get(9..16).await, Err(Error::Blobs { .. })));
        assert!(matches!(get(16..17).await, Err(Error::Blobs { .. })));
    }

    // What is there may be damaged: it is written anew when that is asked for.
    let (name, parts) = &packs[0];
    let other = [Bytes::from_static(b"fifteen bytes..")];
    blobs.replace(name, &other).await?;
    assert_eq!(
        blobs.get(name, 0..15).await?.as_deref(),
        Some(&other[0][..])
    );
    blobs.replace(name, parts).await?;

    let listed: Vec<_> = packs.iter().map(|(name, _)| (*name, 15)).collect();
    assert_eq!(blobs.list(None, 100).await?, listed);
    // Pages join without a gap and without an overlap, wherever they are cut.
    for limit in 1..=packs.len() {
        let mut paged = Vec::new();
        loop {
            let after = paged.last().map(|(name, _)| *name);
            let page = blobs.list(after.as_ref(), limit).await?;
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= limit);
            paged.extend(page);
        }
        assert_eq!(paged, listed, "in pages of {limit}");
    }

    let (gone, parts) = &packs[4];
    assert!(blobs.delete(gone).await?);
    assert!(!blobs.delete(gone).await?);
    assert_eq!(blobs.get(gone, 0..1).await?, None);
    assert_eq!(blobs.list(None, 100).await?.len(), packs.len() - 1);
    blobs.put(gone, parts).await?;
    assert_eq!(blobs.list(None, 100).await?, listed);
    Ok(())
}
