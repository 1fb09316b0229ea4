//! What passes by itself: stores that another run has open, connections that are lost.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use snafu::ResultExt;
use sync_core::retry::Backoff;
use sync_core::{Class, Fault};
use sync_store::{Error, Store};

use crate::error::{MapSnafu, StoreSnafu};
use crate::event::Event;
use crate::maps::Maps;
use crate::push::{ATTEMPTS, retry_after};
use crate::session::{Local, Session, blocking};
use crate::shadow::Opening;
use crate::tree_map::empty_root;

/// How often a store that is in use is tried again, and how long after.
pub(crate) const TRIES: u32 = 50;
/// How often where the run can do without it.
const FEW_TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(100);

/// Opens a store in a directory; where another run has it open, such as a `status` beside a `watch`, waits a few seconds.
///
/// # Errors
///
/// As [`Store::open_dir`]; [`Error::Held`] where it stays in use.
pub async fn open_store(dir: &Path) -> Result<Store, Error> {
    open_within(&Opening::itself(dir), TRIES).await
}

pub(crate) async fn open_within(opening: &Opening, tries: u32) -> Result<Store, Error> {
    for _ in 1..tries {
        match opening.open().await {
            Err(Error::Held { .. }) => tokio::time::sleep(PAUSE).await,
            opened => return opened,
        }
    }
    opening.open().await
}

/// How a run takes it that another one has the private store open, as a long push has.
#[derive(Debug, Default)]
pub(crate) struct Forbearance {
    /// Whether this run only looks: then it does without.
    looks: AtomicBool,
    /// Whether it has to.
    does_without: AtomicBool,
}

impl Forbearance {
    /// Of a run that has no use for the private store.
    pub(crate) fn without() -> Self {
        Self {
            looks: AtomicBool::new(true),
            does_without: AtomicBool::new(true),
        }
    }

    /// As long as what is returned lives, this run only looks.
    pub(crate) fn look(&self) -> Looking<'_> {
        self.looks.store(true, Ordering::Relaxed);
        Looking(self)
    }

    /// Whether the run goes on as if there were no private store.
    pub(crate) fn does_without(&self) -> bool {
        self.does_without.load(Ordering::Relaxed)
    }

    /// Opens the private store; where a run that only looks cannot have it, it does without from then on.
    pub(crate) async fn open(&self, opening: &Opening) -> Result<Store, crate::Error> {
        let looks = self.looks.load(Ordering::Relaxed);
        let opened = open_within(opening, if looks { FEW_TRIES } else { TRIES }).await;
        if looks && matches!(opened, Err(Error::Held { .. })) {
            self.does_without.store(true, Ordering::Relaxed);
        }
        opened.context(StoreSnafu)
    }
}

/// A run only looks while this lives: what it then plans and applies needs the store.
#[derive(Debug)]
pub(crate) struct Looking<'f>(&'f Forbearance);

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.0.looks.store(false, Ordering::Relaxed);
        self.0.does_without.store(false, Ordering::Relaxed);
    }
}

impl Session {
    /// The map of what was captured where the private store does not have what the stat cache speaks of.
    ///
    /// Where another run holds that store nothing is lost: then the map is made of the cache's own entries, in memory and
    /// without chunk lists, which is enough for whoever only looks.
    pub(crate) async fn capture_without_store(
        &self,
        captured: sync_files::Capture,
        maps: Maps,
    ) -> Result<Local, crate::Error> {
        if !self.forbearance.does_without() {
            return self.capture_anew(maps).await;
        }
        let mut sink = maps.clone();
        let (captured, map) = blocking(move || {
            let entries = captured.cache.entries()?;
            let edits = entries
                .iter()
                .map(|(path, entry)| (path.as_bytes(), Some(entry.encode())));
            let map = sync_core::map::edit(&sink.clone(), empty_root(), edits, &mut sink);
            Ok((captured, map.context(MapSnafu)?))
        })
        .await?;
        Ok(Local::new(captured, map.root, maps))
    }

    /// Waits before attempt `attempt` of what a lost connection has cut short.
    ///
    /// # Errors
    ///
    /// Why it was cut short, where that does not pass by itself or was tried often enough.
    pub(crate) async fn pause(&self, lost: crate::Error, attempt: u32) -> Result<(), crate::Error> {
        let policy = Backoff {
            attempts: ATTEMPTS,
            ..Backoff::default()
        };
        let random = (self.context.random)();
        let wait = policy.delay(attempt - 1, random, retry_after(&lost));
        match wait.filter(|_| lost.class() == Class::Unavailable) {
            Some(wait) => tokio::time::sleep(wait).await,
            None => return Err(lost),
        }
        self.tell(Event::SyncResuming { attempt });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_in_use_is_waited_for_but_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let held = open_store(dir.path()).await.unwrap();
        let refused = open_store(dir.path()).await;
        assert!(matches!(refused, Err(Error::Held { .. })));
        let second = tokio::spawn({
            let dir = dir.path().to_owned();
            async move { open_store(&dir).await.map(drop) }
        });
        tokio::time::sleep(PAUSE * 3).await;
        drop(held);
        second.await.unwrap().unwrap();
    }
}
