//! Tells when something in the tree was saved.

use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use snafu::ResultExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::error::WatchSnafu;
use crate::{Error, Workspace};

/// A burst is over when nothing was saved for this long.
const QUIET: Duration = Duration::from_millis(50);
/// A burst that does not end is cut after this long.
const LONGEST: Duration = Duration::from_millis(500);

/// Watches a workspace's tree through the operating system's notifications.
///
/// It only says that something may have changed: what has, the next capture finds out, so no notification that is lost,
/// merged or late can lose a change for good.
#[derive(Debug)]
pub struct Watcher {
    /// Notifications come as long as this lives.
    _source: RecommendedWatcher,
    saved: mpsc::Receiver<()>,
}

impl Watcher {
    /// Begins to watch; a change from now on is told.
    ///
    /// # Errors
    ///
    /// [`Error::Watch`] where the operating system refuses, such as for want of watches.
    pub fn new(workspace: &Workspace) -> Result<Self, Error> {
        let path = workspace.tree();
        // One waiting notice stands for any number of changes.
        let (sender, saved) = mpsc::channel(1);
        let notice = move |event: notify::Result<notify::Event>| {
            // Reading changes nothing; an error (an overflow, say) may hide a change.
            if event.map_or(true, |event| !event.kind.is_access()) {
                let _ = sender.try_send(());
            }
        };
        let mut source = notify::recommended_watcher(notice).context(WatchSnafu { path: &path })?;
        source
            .watch(&path, RecursiveMode::Recursive)
            .context(WatchSnafu { path: &path })?;
        Ok(Self {
            _source: source,
            saved,
        })
    }

    /// Waits until something was saved, and until the burst that it belongs to is over.
    pub async fn saved(&mut self) {
        if self.saved.recv().await.is_none() {
            // The source lives as long as this does, so this cannot be; if it were, there would be nothing to tell.
            return std::future::pending().await;
        }
        let longest = Instant::now() + LONGEST;
        loop {
            let quiet = (Instant::now() + QUIET).min(longest);
            match timeout_at(quiet, self.saved.recv()).await {
                Ok(Some(())) if Instant::now() < longest => {}
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_burst_of_saves_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let tenant = "t".parse().unwrap();
        let workspace = Workspace::init(dir.path(), "w", "https://a", &tenant).unwrap();
        let mut watcher = Watcher::new(&workspace).unwrap();
        let below = workspace.tree().join("agents");
        std::fs::create_dir(&below).unwrap();
        watcher.saved().await;
        // The new directory is watched, too.
        for name in 0..20 {
            std::fs::write(below.join(name.to_string()), "x").unwrap();
        }
        watcher.saved().await;
        // Reading is no change: nothing is told until something is saved again.
        std::fs::read(below.join("1")).unwrap();
        let idle = tokio::time::timeout(QUIET * 4, watcher.saved()).await;
        assert!(idle.is_err());
    }
}
