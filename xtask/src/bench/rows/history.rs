//! Many small snapshots of a large table: what the tenant's store grows by.

use std::time::Duration;

use super::place::Place;
use crate::{bench::meter::End, error::Result};

/// Rows that change between two snapshots.
pub(super) const CHANGED: u64 = 100;

/// What a history cost.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct History {
    pub(super) snapshots: u64,
    /// By how much the server's data grew.
    pub(super) grown_bytes: u64,
    /// All pushes together.
    pub(super) wall: Duration,
    /// The highest peaks of any push.
    pub(super) client: End,
    pub(super) server: End,
}

/// Pushes so many snapshots of a hundred changed rows each; after every hundredth, and the last, `tell` hears what came of them.
pub(super) fn grow(
    place: &Place,
    snapshots: u64,
    mut tell: impl FnMut(History) -> Result<()>,
) -> Result<()> {
    let before = place.stored()?;
    let mut history = History::default();
    while history.snapshots < snapshots {
        place.edit(CHANGED)?;
        let sample = place.push_of(CHANGED)?.sample;
        history.snapshots += 1;
        history.wall += sample.wall;
        add(&mut history.client, sample.client);
        add(&mut history.server, sample.server.unwrap_or_default());
        if history.snapshots.is_multiple_of(100) || history.snapshots == snapshots {
            history.grown_bytes = place.stored()?.saturating_sub(before);
            println!("  {} snapshots", history.snapshots);
            tell(history)?;
        }
    }
    Ok(())
}

fn add(total: &mut End, of: End) {
    total.cpu += of.cpu;
    total.peak_bytes = total.peak_bytes.max(of.peak_bytes);
}
