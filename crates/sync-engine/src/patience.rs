//! Stores that another run has open for a moment.

use std::path::Path;
use std::time::Duration;

use sync_store::{Error, Store};

/// How often a store that is in use is tried again, and how long after.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// Opens a store in a directory; where another run has it open, such as a `status` beside a `watch`, waits a few seconds.
///
/// # Errors
///
/// As [`Store::open_dir`]; [`Error::Held`] where it stays in use.
pub async fn open_store(dir: &Path) -> Result<Store, Error> {
    for _ in 1..TRIES {
        match Store::open_dir(dir).await {
            Err(Error::Held { .. }) => tokio::time::sleep(PAUSE).await,
            opened => return opened,
        }
    }
    Store::open_dir(dir).await
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
